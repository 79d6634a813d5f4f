// SPDX-License-Identifier: Apache-2.0
// The way back through a panel of queries: weights recomputed from the log-sum-exp, tile by tile, and the five products
// S = K Q^T, dP = V dO^T, dV = P^T dO, dK = dS^T Q, dQ = dS K.
//
// The first two and the last have queries in their lanes, as the forward; dV and dK have the width there, and add to
// rows of keys that the caller holds.
#pragma once

#include "heed/attention/panel_tiles.hpp"
#include "heed/attention/score/sums.hpp"
#include "heed/kernel/gemm.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// An attention with what its backward reads.
template <class Forward, class UD>
struct BackwardProblem : Forward {
  using T = typename Forward::T;
  View<const T, 3> lse_of;
  View<const UD, 4> d_out;
  View<const T, 3> d_lse;  // data is null if it has no cotangent
};

/// Gradients of the keys and values [begin, ..), rows of whole batches.
template <Real T>
struct KeyGradients {
  Index begin = 0;
  Index k_stride = 0, v_stride = 0;
  T* k = nullptr;
  T* v = nullptr;
};

template <class Problem>
class PanelBackward {
 public:
  using T = typename Problem::T;
  using Batch = simd::Batch<T>;
  static constexpr int kLanes = simd::kLanes<T>;
  static constexpr int kWidth = kernel::kPanelWidth<T>;
  static constexpr int kBatches = kernel::kPanelBatches;
  static constexpr int kParameters = kParametersOf<typename Problem::Score>;

  PanelBackward(const Problem& problem, Index b, Index h, Index first, Index count)
      : p_(problem), tiles_(problem, b, h, first, count, frame_) {
    read_rows();
  }

  /// Takes the visible keys of [begin, end).
  void run(Index begin, Index end, const KeyGradients<T>& keys, ParameterSums<T, kParameters>& sums) {
    Index key = begin;
    while (tiles_.next(key, end)) {
      if (!scores_) prepare();
      for (Segment& s : tiles_.segments()) {
        products_of_scores(s);
        weigh(s, sums);
        if (s.poisoned) {
          add_poisoned(s, keys);
        } else {
          add(s, keys);
        }
      }
    }
  }

  /// The sum over queries of the extra logit's gradient, by which the logit's own grows.
  T extra_gradient() const {
    const QueryTile& at = tiles_.queries();
    const T sink = p_.sink(at.batch, at.head);
    T sum = 0;
    for (Index i = 0; i < tiles_.count(); ++i) {
      const T weight = std::exp(sink - p_.lse_of(at.batch, at.head, at.first + i));
      if (weight > 0 || weight != weight) sum -= weight * delta_[i];
    }
    return sum;
  }

  /// dQ, as rows of `width` elements; false if it is 0 and was not written.
  bool finish(T* rows, Index stride) {
    if (!scores_) return false;
    alignas(64) T factor[kWidth];
    std::fill(factor, factor + kWidth, p_.scale);
    kernel::panel_to_rows<T>(d_queries_, factor, tiles_.count(), p_.shape.width, rows, stride, 1);
    return true;
  }

 private:
  using Tiles = PanelTiles<Problem>;
  using Segment = typename Tiles::Segment;

  Index padded_count() const { return tiles_.batches() * kLanes; }

  // What a row's weights and gradients are shifted by. Rows that see nothing and lanes without a query: p = 0.
  void read_rows() {
    const QueryTile& at = tiles_.queries();
    for (Index i = 0; i < kWidth; ++i) {
      shift_[i] = std::numeric_limits<T>::infinity();
      delta_[i] = 0;
    }
    for (Index i = 0; i < tiles_.count(); ++i) {
      const T lse = p_.lse_of(at.batch, at.head, at.first + i);
      if (lse == -std::numeric_limits<T>::infinity()) continue;
      shift_[i] = kernel::from_natural<Problem::kBase>(lse);
      const auto* out = p_.out.at(at.batch, at.head, at.first + i);
      const auto* d_out = p_.d_out.at(at.batch, at.head, at.first + i);
      T sum = 0;
      for (Index d = 0; d < p_.shape.value_width; ++d)
        sum += simd::widen<T>(out[d * p_.out.stride(3)]) * simd::widen<T>(d_out[d * p_.d_out.stride(3)]);
      delta_[i] = p_.d_lse.data ? sum - p_.d_lse(at.batch, at.head, at.first + i) : sum;
    }
  }

  // Queries and cotangents, once with the queries in the lanes and once as rows.
  void prepare() {
    const auto& shape = p_.shape;
    const QueryTile& at = tiles_.queries();
    scores_ = frame_.take<T>(kKeyTile * kWidth);
    d_scores_ = frame_.take<T>(kKeyTile * kWidth);
    queries_ = frame_.take<T>(shape.width * kWidth);
    cotangents_ = frame_.take<T>(shape.value_width * kWidth);
    d_queries_ = frame_.take<T>(shape.width * kWidth);
    std::fill_n(d_queries_, shape.width * kWidth, T(0));
    const auto* q = p_.q.at(at.batch, at.head, at.first);
    const auto* d_out = p_.d_out.at(at.batch, at.head, at.first);
    kernel::rows_to_panel<T>(q, p_.q.stride(2), p_.q.stride(3), tiles_.count(), shape.width, p_.query_scale(),
                             queries_);
    kernel::rows_to_panel<T>(d_out, p_.d_out.stride(2), p_.d_out.stride(3), tiles_.count(), shape.value_width, T(1),
                             cotangents_);
    query_rows_ = as_rows(q, p_.q.stride(2), p_.q.stride(3), shape.width);
    cotangent_rows_ = as_rows(d_out, p_.d_out.stride(2), p_.d_out.stride(3), shape.value_width);
    if constexpr (kParameters > 0) d_parameters_ = frame_.take<T>(kParameters * kKeyTile * kWidth);
  }

  // Columns of a panel's width, each the rows of all queries; 0 for lanes without a query.
  template <class U>
  T* as_rows(const U* rows, Index stride, Index inner, Index width) {
    const Index panels = (width + kWidth - 1) / kWidth;
    T* result = frame_.take<T>(panels * kWidth * kWidth);
    std::fill_n(result, panels * kWidth * kWidth, T(0));
    for (Index c = 0; c < panels; ++c)
      kernel::copy_rows<T>(rows + c * kWidth * inner, stride, inner, tiles_.count(),
                           std::min<Index>(kWidth, width - c * kWidth), result + c * kWidth * kWidth, kWidth);
    return result;
  }

  void products_of_scores(const Segment& s) {
    kernel::with_batches(s.batches, [&]<int NV>() {
      Batch unused[NV];
      for (auto& x : unused) x = Batch(T(0));
      kernel::panel_dot<NV, T>(s.k, s.k_stride, s.rows, queries_ + s.first_batch * kLanes, p_.shape.width,
                               scores_ + s.place(), unused, s.next_keys,
                               kernel::upcoming(s.v, s.v_stride, s.rows, p_.shape.value_width));
      kernel::panel_dot<NV, T>(s.v, s.v_stride, s.rows, cotangents_ + s.first_batch * kLanes, p_.shape.value_width,
                               d_scores_ + s.place(), unused);
    });
  }

  // Scores to weights, gradients of weights to gradients of products; those of the modifiers' parameters on the way.
  void weigh(Segment& s, ParameterSums<T, kParameters>& sums) {
    const bool whole = s.first_batch + s.batches < tiles_.batches() || tiles_.count() == padded_count();
    if (Problem::kPlain && s.test == 0 && whole) {
      kernel::with_batches(s.batches, [&]<int NV>() {
        Batch shift[NV], delta[NV];
        for (int v = 0; v < NV; ++v) {
          shift[v] = simd::load_aligned(shift_ + (s.first_batch + v) * kLanes);
          delta[v] = simd::load_aligned(delta_ + (s.first_batch + v) * kLanes);
        }
        kernel::panel_softmax_backward<Problem::kBase, NV, T>(scores_ + s.place(), d_scores_ + s.place(), s.rows, shift,
                                                              delta);
      });
      return;
    }
    tiles_.fill_planes(s);
    for (int batch = s.first_batch; batch < s.first_batch + s.batches; ++batch) {
      if ((s.test >> batch) & 1u) {
        weigh_batch<true>(s, batch, sums);
      } else {
        weigh_batch<false>(s, batch, sums);
      }
    }
    if constexpr (kParameters > 0) sums.take_segment(tiles_.queries(), s, d_parameters_, kKeyTile * kWidth);
    // A weight of 0 hides nothing that is infinite or NaN from the sums.
    if (s.test != 0 || kMayHideOf<typename Problem::Score>)
      s.poisoned = !kernel::all_finite<T>(s.k, s.k_stride, s.rows, p_.shape.width) || !queries_finite();
  }

  template <bool kTest>
  void weigh_batch(const Segment& s, int batch, ParameterSums<T, kParameters>& sums) {
    const Batch zero(T(0)), hidden(-std::numeric_limits<T>::infinity());
    const Batch shift = simd::load_aligned(shift_ + batch * kLanes),
                delta = simd::load_aligned(delta_ + batch * kLanes);
    const auto lanes = shift != Batch(std::numeric_limits<T>::infinity());
    using Place = DualAt<T, Lanes::kQueries, kParameters>;
    using Score = typename Place::Score;
    Place place_of_pair;
    place_of_pair.parameters = sums.parameters.data();
    Batch by_query[std::max(kParameters, 1)];
    for (auto& x : by_query) x = zero;
    tiles_.for_rows(s, batch, place_of_pair, [&](const Place& at, Index place) {
      Score score = Score::variable(simd::load_aligned(scores_ + place), 0);
      if constexpr (!Problem::kPlain) score = Score(p_.score(score, at));
      Batch x = score.value;
      if constexpr (kTest) x = simd::select(test(p_.rule, skip_planes<Problem::kScorePlanes>(at)), x, hidden);
      // A score that is NaN belongs to a query with a lane of its own, whatever that query sees.
      const Batch p = simd::select(lanes && (x != hidden), kernel::power<Problem::kBase, T>(x - shift), zero);
      const Batch d = p * (simd::load_aligned(d_scores_ + place) - delta);
      const auto none = p == zero;
      p.store_aligned(scores_ + place);
      simd::select(none, zero, d * score.d[0]).store_aligned(d_scores_ + place);
      for (int k = 0; k < kParameters; ++k)
        sums.take(k, at, simd::select(none, zero, d * score.d[1 + k]), by_query[k],
                  d_parameters_ + k * kKeyTile * kWidth + place);
    });
    if constexpr (kParameters > 0) sums.take_queries(batch * kLanes, tiles_.queries(), by_query);
  }

  void add(const Segment& s, const KeyGradients<T>& keys) {
    const Index row = s.key - keys.begin;
    add_to_keys(s, scores_, cotangent_rows_, p_.shape.value_width, keys.v + row * keys.v_stride, keys.v_stride);
    add_to_keys(s, d_scores_, query_rows_, p_.shape.width, keys.k + row * keys.k_stride, keys.k_stride);
    Batch ones[kBatches];
    for (auto& x : ones) x = Batch(T(1));
    kernel::with_batches(s.batches, [&]<int NV>() {
      kernel::panel_accumulate<NV, T>(s.k, s.k_stride, p_.shape.width, d_scores_ + s.place(), s.rows,
                                      d_queries_ + s.first_batch * kLanes, ones);
    });
  }

  void add_to_keys(const Segment& s, const T* weights, const T* rows, Index width, T* sum, Index stride) {
    for (Index c = 0; c < width; c += kWidth) {
      const int batches = int((std::min<Index>(width - c, kWidth) + kLanes - 1) / kLanes);
      kernel::with_batches(batches, [&]<int NV>() {
        kernel::detail::gemm_block<NV, T>(weights + s.place(), kWidth, s.rows,
                                          rows + c * kWidth + s.first_batch * kLanes * kWidth, s.batches * kLanes,
                                          {sum + c, stride}, sum + c, stride, kLanes);
      });
    }
  }

  bool queries_finite() {
    if (!checked_) {
      checked_ = true;
      finite_ = true;
      for (const auto& [rows, width] :
           {std::pair(query_rows_, p_.shape.width), {cotangent_rows_, p_.shape.value_width}})
        for (Index c = 0; c < width; c += kWidth)
          finite_ = finite_ && kernel::all_finite<T>(rows + c * kWidth, kWidth, padded_count(),
                                                     std::min<Index>(kWidth, width - c));
    }
    return finite_;
  }

  // Pair by pair, leaving out those of weight 0.
  void add_poisoned(const Segment& s, const KeyGradients<T>& keys) {
    for (Index r = 0; r < s.rows; ++r) {
      T* k = keys.k + (s.key + r - keys.begin) * keys.k_stride;
      T* v = keys.v + (s.key + r - keys.begin) * keys.v_stride;
      for (Index i = s.first_batch * kLanes; i < (s.first_batch + s.batches) * kLanes; ++i) {
        const T p = scores_[(s.row + r) * kWidth + i], d = d_scores_[(s.row + r) * kWidth + i];
        if (p == T(0)) continue;
        const auto element = [i](const T* rows, Index e) {
          return rows[(e / kWidth * kWidth + i) * kWidth + e % kWidth];
        };
        for (Index e = 0; e < p_.shape.value_width; ++e) v[e] += p * element(cotangent_rows_, e);
        for (Index e = 0; e < p_.shape.width; ++e) {
          k[e] += d * element(query_rows_, e);
          d_queries_[e * kWidth + i] += d * s.k[r * s.k_stride + e];
        }
      }
    }
  }

  const Problem& p_;
  ScratchFrame frame_;
  Tiles tiles_;
  alignas(64) T shift_[kWidth], delta_[kWidth];
  T *scores_ = nullptr, *d_scores_ = nullptr, *queries_ = nullptr, *cotangents_ = nullptr, *d_queries_ = nullptr;
  T *query_rows_ = nullptr, *cotangent_rows_ = nullptr, *d_parameters_ = nullptr;
  bool checked_ = false, finite_ = true;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
