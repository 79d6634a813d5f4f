// SPDX-License-Identifier: Apache-2.0
// Gradients of the tensors that score modifiers read, summed over the pairs that share an element.
#pragma once

#include "heed/attention/mask/rule.hpp"
#include "heed/attention/score/parameter.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/transpose.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// How the pairs of a head come together in a parameter's elements.
enum class Spread { kHead, kQuery, kKey, kPair, kDistance };

inline Spread spread_of(const ScoreParameter& x) {
  if (x.bucket) return Spread::kDistance;
  if (x.sizes[2] > 1) return x.sizes[3] > 1 ? Spread::kPair : Spread::kQuery;
  return x.sizes[3] > 1 ? Spread::kKey : Spread::kHead;
}

/// A parameter with its gradient, to which is added, and the sums of single heads and key ranges on the way there: each
/// has its own, and they are added up in their order. Elements that belong to one pair of each head need none.
template <Real T>
struct ParameterSum : ScoreParameter {
  T* gradient = nullptr;  // of element (0, 0, 0, 0); null if not wanted
  Spread spread = Spread::kHead;
  T* sums = nullptr;
  Index size = 0, splits = 1;  // of the sums of a head

  T* of(Index head, Index split) const { return sums + (head * splits + (splits > 1 ? split : 0)) * size; }
  T* at(Index b, Index h) const { return gradient + b * strides[0] + h * strides[1]; }

  /// Whether heads or batches share elements of single pairs, and so must be taken one after the other.
  bool shared(int axis, Index count) const {
    return gradient && spread == Spread::kPair && sizes[std::size_t(axis)] == 1 && count > 1;
  }

  void prepare(const AttentionShape& shape, Index key_splits, ScratchFrame& frame) {
    spread = spread_of(*this);
    splits = spread == Spread::kKey ? 1 : key_splits;  // every range has keys of its own
    size = spread == Spread::kPair    ? 0
           : spread == Spread::kQuery ? shape.queries
           : spread == Spread::kKey   ? shape.keys
           : spread == Spread::kHead  ? Index(simd::kLanes<T>)
                                      : length;
    const Index all = shape.batch * shape.heads * splits * size;
    sums = frame.take<T>(all);
    std::fill_n(sums, all, T(0));
  }

  void finish(const AttentionShape& shape) const {
    if (spread == Spread::kPair) return;
    const Index step = spread == Spread::kQuery ? strides[2] : spread == Spread::kKey ? strides[3] : 0;
    for (Index head = 0; head < shape.batch * shape.heads; ++head)
      for (Index split = 0; split < splits; ++split) {
        const T* from = of(head, split);
        T* to = at(head / shape.heads, head % shape.heads);
        for (Index x = 0; x < size; ++x) to[spread == Spread::kDistance ? bucket[x] * strides[2] : x * step] += from[x];
      }
  }
};

/// All parameters of a score, at one head and key range.
template <Real T, int K>
struct ParameterSums {
  using Batch = simd::Batch<T>;
  static constexpr Index kWidth = kernel::kPanelWidth<T>;

  std::array<ScoreParameter, std::size_t(K)> parameters;
  std::array<ParameterSum<T>, std::size_t(K)> sums;
  Index head = 0, split = 0;  // head: of the batch too

  /// The gradient by parameter k of a batch of pairs. What is summed over keys comes together in `by_query`, what is
  /// not summed at all goes to the plane.
  HEED_INLINE void take(int k, const At<T, Lanes::kQueries>& at, Batch gradient, Batch& by_query, T* plane) const {
    const ParameterSum<T>& x = sums[std::size_t(k)];
    if (!x.gradient) return;
    switch (x.spread) {
      case Spread::kHead:
      case Spread::kQuery:
        by_query = by_query + gradient;
        break;
      case Spread::kKey:
        x.of(head, split)[at.first_key] += simd::reduce_add<T>(gradient);
        break;
      case Spread::kPair:
        gradient.store_aligned(plane);
        break;
      case Spread::kDistance: {
        T* sum = x.of(head, split) + at.distance_place(x.reach);
        (simd::load(sum) + gradient).store_unaligned(sum);
      }
    }
  }

  /// What came together for the queries from `first` of the tile on.
  void take_queries(Index first, const QueryTile& tile, const Batch* by_query) const {
    for (int k = 0; k < K; ++k) {
      const ParameterSum<T>& x = sums[std::size_t(k)];
      if (!x.gradient || (x.spread != Spread::kHead && x.spread != Spread::kQuery)) continue;
      alignas(64) T lanes[simd::kLanes<T>];
      by_query[k].store_aligned(lanes);
      const Index count = std::min<Index>(simd::kLanes<T>, tile.last - tile.first - first);
      T* sum = x.of(head, split) + (x.spread == Spread::kQuery ? tile.first + first : 0);
      for (Index lane = 0; lane < count; ++lane) sum[lane] += lanes[lane];
    }
  }

  /// The planes of a segment, `plane_size` apart.
  template <class Segment>
  void take_segment(const QueryTile& tile, const Segment& s, const T* planes, Index plane_size) const {
    for (int k = 0; k < K; ++k) {
      const ParameterSum<T>& x = sums[std::size_t(k)];
      if (!x.gradient || x.spread != Spread::kPair) continue;
      alignas(64) T ones[kWidth];
      std::fill_n(ones, kWidth, T(1));
      const Index first = s.first_batch * simd::kLanes<T>;
      const Index count = std::min<Index>(tile.last - tile.first - first, s.batches * simd::kLanes<T>);
      ScratchFrame frame;
      T* rows = frame.take<T>(count * s.rows);
      kernel::panel_to_rows<T>(planes + k * plane_size + s.place(), ones, count, s.rows, rows, s.rows, 1);
      kernel::add_rows<T>(rows, s.rows, count, s.rows, T(1),
                          x.at(tile.batch, tile.head) + (tile.first + first) * x.strides[2] + s.key * x.strides[3],
                          x.strides[2], x.strides[3]);
    }
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
