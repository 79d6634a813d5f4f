// SPDX-License-Identifier: Apache-2.0
// The fused kernel for many queries: a panel of queries in the lanes runs over tiles of keys.
//
// Scores are computed transposed, S^T = K Q^T, so that the maximum and the sum over keys are plain batch operations, a
// mask by position compares one lane vector with a broadcast, and K and V are read in place. Q and O are transposed
// once.
#pragma once

#include "heed/attention/problem.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Keys of a tile: with 64 columns of float its scores fill 24 KiB, which stay in the first-level cache.
inline constexpr Index kKeyTile = simd::kRegisters == 32 ? 96 : 256;

template <class Problem>
class PanelAttention {
 public:
  using T = typename Problem::T;
  using Batch = simd::Batch<T>;
  static constexpr int kLanes = simd::kLanes<T>;
  static constexpr int kWidth = kernel::kPanelWidth<T>;
  static constexpr int kBatches = kernel::kPanelBatches;

  PanelAttention(const Problem& problem, Index b, Index h, Index first, Index count)
      : p_(problem),
        tile_{b, h, h / problem.group(), first, first + count, problem.offset(b), problem.shape.keys},
        batches_(int((count + kLanes - 1) / kLanes)) {
    const auto& shape = p_.shape;
    queries_ = frame_.take<T>(shape.width * kWidth);
    scores_ = frame_.take<T>(kKeyTile * kWidth);
    out_ = frame_.take<T>(std::max<Index>(shape.value_width, 1) * kWidth);
    if constexpr (Problem::kPlanes > 0) planes_ = frame_.take<T>(Problem::kPlanes * kPlaneSize);
    kernel::rows_to_panel<T>(p_.q.at(b, h, first), p_.q.stride(2), p_.q.stride(3), count, shape.width, p_.query_scale(),
                             queries_);
    for (int v = 0; v < kBatches; ++v) {
      m_[v] = Batch(-std::numeric_limits<T>::infinity());
      l_[v] = Batch(T(0));
    }
  }

  /// Runs over the visible keys of [begin, end).
  void run(Index begin, Index end) {
    Index key = begin;
    while (collect(key, end)) {
      score_tile();
      rescale();
      mix_tile();
    }
  }

  /// Writes outputs and log-sum-exps.
  void finish() {
    const Index count = tile_.last - tile_.first;
    alignas(64) T m[kWidth], l[kWidth], factor[kWidth] = {};
    store_state(m, l);
    const T sink = p_.sink(tile_.batch, tile_.head);
    for (Index i = 0; i < count; ++i) {
      const RowResult<T> result = finish_row<T>({m[i], l[i]}, sink);
      factor[i] = result.factor;
      if (p_.lse.data) p_.lse(tile_.batch, tile_.head, tile_.first + i) = result.lse;
    }
    if (first_) std::fill(out_, out_ + p_.shape.value_width * kWidth, T(0));
    kernel::panel_to_rows<T>(out_, factor, count, p_.shape.value_width, p_.out.at(tile_.batch, tile_.head, tile_.first),
                             p_.out.stride(2), p_.out.stride(3));
  }

  /// Writes the states of one of several key ranges.
  void finish(const PartialRows<T>& partial, Index split) {
    const Index count = tile_.last - tile_.first;
    alignas(64) T m[kWidth], l[kWidth], factor[kWidth];
    store_state(m, l);
    std::fill(factor, factor + kWidth, T(1));
    if (first_) std::fill(out_, out_ + p_.shape.value_width * kWidth, T(0));
    const Index row = (tile_.batch * p_.shape.heads + tile_.head) * p_.shape.queries + tile_.first;
    for (Index i = 0; i < count; ++i) partial.states[partial.slot(row + i, split)] = {m[i], l[i]};
    kernel::panel_to_rows<T>(out_, factor, count, p_.shape.value_width,
                             partial.sums + partial.slot(row, split) * partial.width, partial.splits * partial.width,
                             1);
  }

 private:
  static constexpr Index kPlaneSize = kKeyTile * kWidth;
  static constexpr int kMaxSegments = 32;

  // Consecutive keys that the same batches of queries see.
  struct Segment {
    Index key = 0, row = 0, rows = 0;  // first key; first row of the score panel; number of either
    int first_batch = 0, batches = 0;
    unsigned test = 0;  // batches that see only some of these keys
    bool poisoned = false;
    const T* k = nullptr;
    const T* v = nullptr;
    Index k_stride = 0, v_stride = 0;
    kernel::Upcoming next_keys;
  };

  // Takes keys from `key` on until the tile is full. False when none is left.
  bool collect(Index& key, Index end) {
    segments_ = 0;
    rows_ = 0;
    const unsigned all_batches = (1u << batches_) - 1u;
    while (key < end && rows_ < kKeyTile && segments_ < kMaxSegments) {
      const Run run = run_of(p_.rule, tile_, key);
      const Index stop = std::min({run.end, end, key + (kKeyTile - rows_)});
      if (run.seen == Seen::kNone) {
        key = std::min(run.end, end);
      } else if (run.seen == Seen::kAll) {
        add(key, stop, 0, batches_, 0);
      } else {
        // Sixteen keys at a time against each batch of queries: along an edge that runs through a tile (the causal
        // diagonal, either end of a window) only the batches on its visible side take part.
        const Index part = std::min<Index>(stop, key + kLanes);
        unsigned some = 0, test = 0;
        for (int v = 0; v < batches_; ++v) {
          QueryTile sub = tile_;
          sub.first = tile_.first + v * kLanes;
          sub.last = std::min<Index>(sub.first + kLanes, tile_.last);
          const Run seen = run_of(p_.rule, sub, key);
          if (seen.seen == Seen::kNone && seen.end >= part) continue;
          some |= 1u << v;
          if (seen.seen != Seen::kAll || seen.end < part) test |= 1u << v;
        }
        some &= all_batches;
        if (some == 0) {
          key = part;
        } else {
          const int first = std::countr_zero(some), last = 32 - std::countl_zero(some);
          const unsigned inside = ((1u << last) - 1u) & ~((1u << first) - 1u);
          add(key, part, first, last - first, (test | ~some) & inside);
        }
      }
    }
    return rows_ > 0;
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

  void score_tile() {
    for (int v = 0; v < batches_; ++v) top_[v] = Batch(-std::numeric_limits<T>::infinity());
    for (int x = 0; x < segments_; ++x) {
      Segment& s = segment_[x];
      T* scores = scores_ + s.row * kWidth + s.first_batch * kLanes;
      Batch highest[kBatches];
      for (int v = 0; v < s.batches; ++v) highest[v] = Batch(-std::numeric_limits<T>::infinity());
      kernel::with_batches(s.batches, [&]<int NV>() {
        kernel::panel_dot<NV, T>(s.k, s.k_stride, s.rows, queries_ + s.first_batch * kLanes, p_.shape.width, scores,
                                 highest, s.next_keys, kernel::upcoming(s.v, s.v_stride, s.rows, p_.shape.value_width));
      });
      if (!Problem::kPlain || s.test != 0) modify(s, highest);
      for (int v = 0; v < s.batches; ++v) top_[s.first_batch + v] = simd::max(top_[s.first_batch + v], highest[v]);
      // A weight of 0 does not hide a value that is infinite or NaN.
      if (s.test != 0 || kMayHideOf<typename Problem::Score>) {
        s.poisoned = !kernel::all_finite<T>(s.v, s.v_stride, s.rows, p_.shape.value_width);
        if (s.poisoned) keep_scores(s);
      }
    }
  }

  // Score modifiers and visibility on the scores of a segment; takes the maxima anew where it changes them.
  void modify(const Segment& s, Batch* highest) {
    if constexpr (Problem::kPlanes > 0) {
      const Index first = tile_.first + s.first_batch * kLanes;
      const PairTile pairs{tile_.batch, tile_.head, first, std::min<Index>(tile_.last - first, s.batches * kLanes),
                           s.key,       s.rows};
      T* plane = planes_ + s.row * kWidth + s.first_batch * kLanes;
      fill_planes(p_.score, pairs, plane, kPlaneSize);
      if (s.test != 0) fill_planes(p_.rule, pairs, plane + Problem::kScorePlanes * kPlaneSize, kPlaneSize);
    }
    for (int v = 0; v < s.batches; ++v) {
      const int batch = s.first_batch + v;
      if ((s.test >> batch) & 1u) {
        highest[v] = modify_batch<true>(s, batch);
      } else if constexpr (!Problem::kPlain) {
        highest[v] = modify_batch<false>(s, batch);
      }
    }
  }

  template <bool kTest>
  Batch modify_batch(const Segment& s, int batch) {
    At<T, Lanes::kQueries> at;
    at.batch = tile_.batch;
    at.head = tile_.head;
    at.kv_head = tile_.kv_head;
    at.first_query = tile_.first + batch * kLanes;
    at.count = std::min<Index>(kLanes, tile_.last - at.first_query);
    at.offset = tile_.offset;
    at.plane_size = kPlaneSize;
    const Batch hidden(-std::numeric_limits<T>::infinity());
    Batch top = hidden;
    for (Index r = 0; r < s.rows; ++r) {
      const Index place = (s.row + r) * kWidth + batch * kLanes;
      at.first_key = s.key + r;
      if constexpr (Problem::kPlanes > 0) at.plane = planes_ + place;
      Batch x = p_.binary_score(simd::load_aligned(scores_ + place), at);
      if constexpr (kTest) x = simd::select(test(p_.rule, skip_planes<Problem::kScorePlanes>(at)), x, hidden);
      top = simd::max(top, x);
      x.store_aligned(scores_ + place);
    }
    return top;
  }

  void keep_scores(const Segment& s) {
    if (!kept_) kept_ = frame_.take<T>(kKeyTile * kWidth);
    std::copy_n(scores_ + s.row * kWidth, s.rows * kWidth, kept_ + s.row * kWidth);
  }

  // The new maxima, what they make of the old sums, and the exponentials of the tile.
  void rescale() {
    const Batch none(-std::numeric_limits<T>::infinity());
    Batch shift[kBatches];
    for (int v = 0; v < batches_; ++v) {
      const Batch old = m_[v];
      m_[v] = simd::max(old, top_[v]);
      shift[v] = simd::select(m_[v] == none, Batch(T(0)), m_[v]);
      alpha_[v] = simd::exp2_nonpositive(old - shift[v]);
      l_[v] = l_[v] * alpha_[v];
    }
    for (int x = 0; x < segments_; ++x) {
      const Segment& s = segment_[x];
      kernel::with_batches(s.batches, [&]<int NV>() {
        kernel::panel_exponentials<NV, T>(scores_ + s.row * kWidth + s.first_batch * kLanes, s.rows,
                                          shift + s.first_batch, l_ + s.first_batch);
      });
    }
  }

  void mix_tile() {
    // The first product takes the rescaling along, if there is one for all batches. Values that are not finite change
    // nothing in the order of summation, so that they do not change the bits of the rows that they are hidden from.
    int lead = 0;
    while (lead < segments_ && segment_[lead].batches != batches_) ++lead;
    Batch ones[kBatches];
    for (auto& x : ones) x = Batch(T(1));
    if (lead < segments_ && !segment_[lead].poisoned) {
      mix(segment_[lead], first_ ? nullptr : alpha_);
    } else {
      for (Index d = 0; d < p_.shape.value_width; ++d)
        for (int v = 0; v < batches_; ++v) {
          T* o = out_ + d * kWidth + v * kLanes;
          (first_ ? Batch(T(0)) : simd::load_aligned(o) * alpha_[v]).store_aligned(o);
        }
      if (lead < segments_) mix_poisoned(segment_[lead]);
    }
    for (int x = 0; x < segments_; ++x) {
      if (x == lead) continue;
      if (segment_[x].poisoned) {
        mix_poisoned(segment_[x]);
      } else {
        mix(segment_[x], ones);
      }
    }
    first_ = false;
  }

  void mix(const Segment& s, const Batch* scale) {
    kernel::with_batches(s.batches, [&]<int NV>() {
      kernel::panel_accumulate<NV, T>(s.v, s.v_stride, p_.shape.value_width,
                                      scores_ + s.row * kWidth + s.first_batch * kLanes, s.rows,
                                      out_ + s.first_batch * kLanes, scale);
    });
  }

  // Row by row, leaving out the queries that do not see the key.
  void mix_poisoned(const Segment& s) {
    const Batch hidden(-std::numeric_limits<T>::infinity());
    for (Index r = 0; r < s.rows; ++r) {
      const T* v = s.v + r * s.v_stride;
      const Index row = (s.row + r) * kWidth;
      for (int x = s.first_batch; x < s.first_batch + s.batches; ++x) {
        const Batch p = simd::load_aligned(scores_ + row + x * kLanes);
        const auto unseen = simd::load_aligned(kept_ + row + x * kLanes) == hidden;
        for (Index d = 0; d < p_.shape.value_width; ++d) {
          T* o = out_ + d * kWidth + x * kLanes;
          const Batch old = simd::load_aligned(o);
          simd::select(unseen, old, simd::fma(p, Batch(v[d]), old)).store_aligned(o);
        }
      }
    }
  }

  void store_state(T* m, T* l) const {
    for (int v = 0; v < kBatches; ++v) {
      m_[v].store_aligned(m + v * kLanes);
      l_[v].store_aligned(l + v * kLanes);
    }
  }

  const Problem& p_;
  ScratchFrame frame_;
  QueryTile tile_;
  int batches_;
  T *queries_, *scores_, *out_;
  T *planes_ = nullptr, *kept_ = nullptr, *key_copy_ = nullptr, *value_copy_ = nullptr;
  Batch m_[kBatches], l_[kBatches], top_[kBatches], alpha_[kBatches];
  Segment segment_[kMaxSegments];
  int segments_ = 0;
  Index rows_ = 0;
  bool first_ = true;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
