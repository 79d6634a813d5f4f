// SPDX-License-Identifier: Apache-2.0
// Which keys a panel of queries meets, tile by tile: what the forward and the backward kernel share.
#pragma once

#include <bit>
#include <span>

#include "heed/attention/problem.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Keys of a tile: with 64 columns of float its scores fill 24 KiB, which stay in the first-level cache.
inline constexpr Index kKeyTile = simd::kRegisters == 32 ? 96 : 256;

template <class Problem>
class PanelTiles {
 public:
  using T = typename Problem::T;
  static constexpr int kLanes = simd::kLanes<T>;
  static constexpr int kWidth = kernel::kPanelWidth<T>;

  /// Consecutive keys that the same batches of queries see.
  struct Segment {
    Index key = 0, row = 0, rows = 0;  // first key; first row of the score panel; number of either
    int first_batch = 0, batches = 0;
    unsigned test = 0;  // batches that see only some of these keys
    bool poisoned = false;
    const T* k = nullptr;
    const T* v = nullptr;
    Index k_stride = 0, v_stride = 0;
    kernel::Upcoming next_keys;

    Index place() const { return row * kWidth + first_batch * kLanes; }  // of its first score in the panel
  };

  PanelTiles(const Problem& problem, Index b, Index h, Index first, Index count, ScratchFrame& frame)
      : p_(problem),
        frame_(frame),
        tile_{b, h, h / problem.group(), first, first + count, problem.offset(b), problem.shape.keys},
        batches_(int((count + kLanes - 1) / kLanes)) {
    if constexpr (Problem::kPlanes > 0)
      if (!problem.shared_planes) planes_ = frame.take<T>(Problem::kPlanes * kPlaneSize);
  }

  const QueryTile& queries() const { return tile_; }
  Index count() const { return tile_.last - tile_.first; }
  int batches() const { return batches_; }
  std::span<Segment> segments() { return {segment_, std::size_t(segments_)}; }

  /// Takes keys from `key` on until the tile is full. False when none is left.
  bool next(Index& key, Index end) {
    segments_ = 0;
    rows_ = 0;
    while (key < end && rows_ < kKeyTile && segments_ < kMaxSegments) {
      const Run run = run_of(p_.rule, tile_, key);
      const Index stop = std::min({run.end, end, key + (kKeyTile - rows_)});
      if (run.seen == Seen::kNone) {
        key = std::min(run.end, end);
      } else if (run.seen == Seen::kAll) {
        add(key, stop, 0, batches_, 0);
      } else {
        constexpr Index most = kWholeRunsOf<typename Problem::Rule> ? kKeyTile : Index(kLanes);
        add_edge(key, std::min(stop, key + most));
      }
    }
    return rows_ > 0;
  }

  /// Lays out the planes of a segment.
  void fill_planes(const Segment& s) {
    if constexpr (Problem::kPlanes > 0) {
      if (p_.shared_planes) return;
      const Index first = tile_.first + s.first_batch * kLanes;
      const PairTile pairs{tile_.batch, tile_.head, first, std::min<Index>(tile_.last - first, s.batches * kLanes),
                           s.key,       s.rows};
      T* plane = planes_ + s.place();
      detail::fill_planes(p_.score, pairs, plane, kPlaneSize);
      if (s.test != 0) detail::fill_planes(p_.rule, pairs, plane + Problem::kScorePlanes * kPlaneSize, kPlaneSize);
    }
  }

  /// What is to be added to the scores of a segment in place of its modifier: a panel, or null where that has to be
  /// called.
  const T* added(const Segment& s) const {
    if constexpr (Problem::kAddsPlane) {
      if (p_.shared_planes) {
        const Index first = tile_.first / kLanes + s.first_batch;
        const bool whole = first % kernel::kPanelBatches + s.batches <= kernel::kPanelBatches;
        if (!p_.shared_planes_finite || !whole) return nullptr;
        return p_.shared_planes + SharedPlanes<Problem>(p_.shape).place(tile_.head, first, s.key);
      }
      const T* const plane = planes_ + s.place();
      return kernel::all_finite<T>(plane, kWidth, s.rows, s.batches * kLanes) ? plane : nullptr;
    } else {
      return nullptr;
    }
  }

  /// Calls body(at, place) for the rows of a segment: one batch of queries against its keys in turn, `place` that of
  /// the pair's batch in a score panel. `At` is told where it stands.
  template <class A = At<T, Lanes::kQueries>, class Body>
  HEED_INLINE void for_rows(const Segment& s, int batch, A at, Body&& body) const {
    at.batch = tile_.batch;
    at.head = tile_.head;
    at.kv_head = tile_.kv_head;
    at.first_query = tile_.first + batch * kLanes;
    at.count = std::min<Index>(kLanes, tile_.last - at.first_query);
    at.offset = tile_.offset;
    const T* plane = nullptr;
    if constexpr (Problem::kPlanes > 0) {
      if (p_.shared_planes) {
        const SharedPlanes<Problem> shared(p_.shape);
        plane = p_.shared_planes + shared.place(tile_.head, at.first_query / kLanes, s.key);
        at.plane_size = shared.plane_size();
      } else {
        plane = planes_ + s.row * kWidth + batch * kLanes;
        at.plane_size = kPlaneSize;
      }
    }
    for (Index r = 0; r < s.rows; ++r) {
      const Index place = (s.row + r) * kWidth + batch * kLanes;
      at.first_key = s.key + r;
      if constexpr (Problem::kPlanes > 0) at.plane = plane + r * kWidth;
      body(at, place);
    }
  }

 private:
  static constexpr Index kPlaneSize = kKeyTile * kWidth;
  static constexpr int kMaxSegments = 32;

  // Sixteen keys at a time, or a run of them, against each batch of queries: along an edge that runs through a tile
  // (the causal diagonal, either end of a window) only the batches on its visible side take part.
  void add_edge(Index& key, Index stop) {
    unsigned some = 0, test = 0;
    for (int v = 0; v < batches_; ++v) {
      QueryTile sub = tile_;
      sub.first = tile_.first + v * kLanes;
      sub.last = std::min<Index>(sub.first + kLanes, tile_.last);
      const Run seen = run_of(p_.rule, sub, key);
      if (seen.seen == Seen::kNone && seen.end >= stop) continue;
      some |= 1u << v;
      if (seen.seen != Seen::kAll || seen.end < stop) test |= 1u << v;
    }
    if (some == 0) {
      key = stop;
      return;
    }
    const int first = std::countr_zero(some), last = 32 - std::countl_zero(some);
    const unsigned inside = ((1u << last) - 1u) & ~((1u << first) - 1u);
    add(key, stop, first, last - first, (test | ~some) & inside);
  }

  // Adds keys [key, stop), or the first of them that lie in one run of the source, and moves key behind them.
  void add(Index& key, Index stop, int first_batch, int batches, unsigned test) {
    Segment s;
    s.key = key;
    s.row = rows_;
    s.first_batch = first_batch;
    s.batches = batches;
    s.test = test;
    const auto keys = p_.source.keys(tile_.batch, tile_.kv_head, key);
    const auto values = p_.source.values(tile_.batch, tile_.kv_head, key);
    s.rows = std::min({stop - key, keys.count, values.count});
    s.k = in_place(keys, s.rows, p_.shape.width, key_copy_, s.k_stride);
    s.v = in_place(values, s.rows, p_.shape.value_width, value_copy_, s.v_stride);
    s.next_keys = kernel::upcoming(keys.data + s.rows * keys.stride, keys.stride, keys.count - s.rows, p_.shape.width);
    rows_ += s.rows;
    key += s.rows;
    if (segments_ > 0) {
      Segment& last = segment_[segments_ - 1];
      if (last.key + last.rows == s.key && last.first_batch == first_batch && last.batches == batches &&
          last.test == test && last.k + last.rows * last.k_stride == s.k && last.k_stride == s.k_stride &&
          last.v + last.rows * last.v_stride == s.v && last.v_stride == s.v_stride) {
        last.rows += s.rows;
        last.next_keys = s.next_keys;
        return;
      }
    }
    segment_[segments_++] = s;
  }

  // Rows of T with unit inner stride are read where they are, all others are copied to the tile's row.
  template <class U>
  const T* in_place(const RowRun<U>& run, Index rows, Index width, T*& copy, Index& stride) {
    if constexpr (std::same_as<U, T>) {
      if (run.inner == 1 || width <= 1) {
        stride = run.stride;
        return run.data;
      }
    }
    if (!copy) copy = frame_.take<T>(kKeyTile * std::max<Index>(width, 1));
    stride = width;
    T* rows_here = copy + rows_ * width;
    kernel::copy_rows<T>(run.data, run.stride, run.inner, rows, width, rows_here, width);
    return rows_here;
  }

  const Problem& p_;
  ScratchFrame& frame_;
  QueryTile tile_;
  int batches_;
  T *planes_ = nullptr, *key_copy_ = nullptr, *value_copy_ = nullptr;
  Segment segment_[kMaxSegments];
  int segments_ = 0;
  Index rows_ = 0;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
