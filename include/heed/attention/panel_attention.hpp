// SPDX-License-Identifier: Apache-2.0
// The fused kernel for many queries: a panel of queries in the lanes runs over tiles of keys.
//
// Scores are computed transposed, S^T = K Q^T, so that the maximum and the sum over keys are plain batch operations, a
// mask by position compares one lane vector with a broadcast, and K and V are read in place. Q and O are transposed
// once.
#pragma once

#include "heed/attention/panel_tiles.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <class Problem>
class PanelAttention {
 public:
  using T = typename Problem::T;
  using Batch = simd::Batch<T>;
  static constexpr int kLanes = simd::kLanes<T>;
  static constexpr int kWidth = kernel::kPanelWidth<T>;
  static constexpr int kBatches = kernel::kPanelBatches;

  /// Queries [first, first + count) of a head; `which` says in which rows of q and out they are, if not in those.
  PanelAttention(const Problem& problem, Index b, Index h, Index first, Index count,
                 const kernel::Upcoming& next_queries, const std::int32_t* which = nullptr)
      : p_(problem), tiles_(problem, b, h, first, count, frame_), which_(which), next_queries_(next_queries) {
    const auto& shape = p_.shape;
    queries_ = frame_.take<T>(shape.width * kWidth);
    scores_ = frame_.take<T>(kKeyTile * kWidth);
    out_ = frame_.take<T>(std::max<Index>(shape.value_width, 1) * kWidth);
    kernel::rows_to_panel<T>(p_.q.at(b, h, first_row()), p_.q.stride(2), p_.q.stride(3), count, shape.width,
                             p_.query_scale(), queries_, which);
    if (!which && p_.out.stride(3) == 1)
      outputs_ = kernel::upcoming(p_.out.at(b, h, first), p_.out.stride(2), count, shape.value_width);
    for (int v = 0; v < kBatches; ++v) {
      m_[v] = Batch(-std::numeric_limits<T>::infinity());
      l_[v] = Batch(T(0));
    }
  }

  /// Runs over the visible keys of [begin, end).
  void run(Index begin, Index end) {
    Index key = begin;
    while (tiles_.next(key, end)) {
      score_tile();
      rescale();
      mix_tile();
    }
  }

  /// Writes outputs and log-sum-exps.
  void finish() {
    const QueryTile& at = tiles_.queries();
    const Index count = tiles_.count();
    alignas(64) T m[kWidth], l[kWidth], factor[kWidth] = {};
    store_state(m, l);
    if (HasExtraLogit<typename Problem::Score> || p_.lse.data) {
      const T sink = p_.sink(at.batch, at.head);
      for (Index i = 0; i < count; ++i) {
        const RowResult<T> result = finish_row<Problem::kBase, T>({m[i], l[i]}, sink);
        factor[i] = result.factor;
        if (p_.lse.data) p_.lse(at.batch, at.head, which_ ? which_[i] : at.first + i) = result.lse;
      }
    } else {
      // The same factors without the logarithms, which cost a window of 49 tokens a twentieth of its time.
      const Batch none(-std::numeric_limits<T>::infinity()), zero(T(0));
      for (int v = 0; v < tiles_.batches(); ++v)
        simd::select(m_[v] == none && l_[v] == zero, zero, Batch(T(1)) / l_[v]).store_aligned(factor + v * kLanes);
    }
    if (first_) std::fill(out_, out_ + p_.shape.value_width * kWidth, T(0));
    kernel::panel_to_rows<T>(out_, factor, count, p_.shape.value_width, p_.out.at(at.batch, at.head, first_row()),
                             p_.out.stride(2), p_.out.stride(3), which_);
  }

  /// Merges the states into those that the same rows of q, counted from `low`, have from other keys.
  void merge_into(const PartialRows<T>& rows, Index low) {
    if (first_) return;
    const Index count = tiles_.count();
    alignas(64) T m[kWidth], l[kWidth], was_m[kWidth], was_l[kWidth];
    std::int32_t place[kWidth];
    store_state(m, l);
    for (Index i = 0; i < kWidth; ++i) {
      place[i] = std::int32_t(which_[std::min(i, count - 1)] - low);
      was_m[i] = rows.states[place[i]].m;
      was_l[i] = rows.states[place[i]].l;
    }
    const Batch none(-std::numeric_limits<T>::infinity());
    for (int x = 0; x < tiles_.batches() * kLanes; x += kLanes) {
      const Batch was = simd::load_aligned(was_m + x), is = simd::load_aligned(m + x), top = simd::max(was, is);
      const Batch shift = simd::select(top == none, Batch(T(0)), top);
      const Batch keep = kernel::power<Problem::kBase, T>(was - shift);
      const Batch take = kernel::power<Problem::kBase, T>(is - shift);
      simd::fma(simd::load_aligned(was_l + x), keep, simd::load_aligned(l + x) * take).store_aligned(l + x);
      top.store_aligned(m + x);
      keep.store_aligned(was_m + x);
      take.store_aligned(was_l + x);
    }
    for (Index i = 0; i < count; ++i) rows.states[place[i]] = {m[i], l[i]};
    kernel::add_panel_to_rows<T>(out_, was_l, was_m, count, p_.shape.value_width, rows.sums, rows.width, place);
  }

  /// Writes the states of one of several key ranges.
  void finish(const PartialRows<T>& partial, Index split) {
    const QueryTile& at = tiles_.queries();
    const Index count = tiles_.count();
    alignas(64) T m[kWidth], l[kWidth], factor[kWidth];
    store_state(m, l);
    std::fill(factor, factor + kWidth, T(1));
    if (first_) std::fill(out_, out_ + p_.shape.value_width * kWidth, T(0));
    const Index row = (at.batch * p_.shape.heads + at.head) * p_.shape.queries + at.first;
    for (Index i = 0; i < count; ++i) partial.states[partial.slot(row + i, split)] = {m[i], l[i]};
    kernel::panel_to_rows<T>(out_, factor, count, p_.shape.value_width,
                             partial.sums + partial.slot(row, split) * partial.width, partial.splits * partial.width,
                             1);
  }

 private:
  using Tiles = PanelTiles<Problem>;
  using Segment = typename Tiles::Segment;

  void score_tile() {
    for (int v = 0; v < tiles_.batches(); ++v) top_[v] = Batch(-std::numeric_limits<T>::infinity());
    for (Segment& s : tiles_.segments()) {
      Batch highest[kBatches];
      for (int v = 0; v < s.batches; ++v) highest[v] = Batch(-std::numeric_limits<T>::infinity());
      tiles_.fill_planes(s);
      const T* const added = tiles_.added(s);
      kernel::with_batches(s.batches, [&]<int NV>() {
        kernel::panel_dot<NV, T>(s.k, s.k_stride, s.rows, queries_ + s.first_batch * kLanes, p_.shape.width,
                                 scores_ + s.place(), highest, s.next_keys,
                                 kernel::upcoming(s.v, s.v_stride, s.rows, p_.shape.value_width), added);
      });
      bool hides = false;
      if (!Problem::kPlain && !added) {
        if constexpr (!Problem::kPlain) hides = modify<true>(s, highest);
      } else if (s.test != 0) {
        if constexpr (Problem::kPlain || Problem::kAddsPlane) hides = modify<false>(s, highest);
      }
      for (int v = 0; v < s.batches; ++v) top_[s.first_batch + v] = simd::max(top_[s.first_batch + v], highest[v]);
      // A weight of 0 does not hide a value that is infinite or NaN.
      if (hides) {
        s.poisoned = !kernel::all_finite<T>(s.v, s.v_stride, s.rows, p_.shape.value_width);
        if (s.poisoned) keep_scores(s);
      }
    }
  }

  // Score modifiers and visibility on the scores of a segment; takes the maxima anew where it changes them. True if it
  // may have hidden any.
  template <bool kScore>
  bool modify(const Segment& s, Batch* highest) {
    simd::Mask<T> hidden(false);
    for (int v = 0; v < s.batches; ++v) {
      const int batch = s.first_batch + v;
      if ((s.test >> batch) & 1u) {
        highest[v] = modify_batch<kScore, true>(s, batch, hidden);
      } else if constexpr (kScore) {
        highest[v] = modify_batch<kScore, false>(s, batch, hidden);
      }
    }
    return s.test != 0 || simd::any(hidden);
  }

  template <bool kScore, bool kTest>
  Batch modify_batch(const Segment& s, int batch, simd::Mask<T>& any_hidden) {
    const Batch hidden(-std::numeric_limits<T>::infinity());
    Batch top = hidden;
    tiles_.for_rows(s, batch, At<T, Lanes::kQueries>(), [&](const auto& at, Index place) {
      Batch x = simd::load_aligned(scores_ + place);
      if constexpr (kScore) x = p_.score(x, at);
      if constexpr (kTest) x = simd::select(test(p_.rule, skip_planes<Problem::kScorePlanes>(at)), x, hidden);
      if constexpr (!kTest && kMayHideOf<typename Problem::Score>) any_hidden = any_hidden || x == hidden;
      top = simd::max(top, x);
      x.store_aligned(scores_ + place);
    });
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
    for (int v = 0; v < tiles_.batches(); ++v) {
      const Batch old = m_[v];
      m_[v] = simd::max(old, top_[v]);
      shift[v] = simd::select(m_[v] == none, Batch(T(0)), m_[v]);
      alpha_[v] = kernel::power<Problem::kBase, T>(old - shift[v]);
      l_[v] = l_[v] * alpha_[v];
    }
    for (const Segment& s : tiles_.segments()) {
      kernel::with_batches(s.batches, [&]<int NV>() {
        kernel::panel_exponentials<Problem::kBase, NV, T>(scores_ + s.place(), s.rows, shift + s.first_batch,
                                                          l_ + s.first_batch);
      });
    }
  }

  void mix_tile() {
    // The first product takes the rescaling along, if there is one for all batches. Values that are not finite change
    // nothing in the order of summation, so that they do not change the bits of the rows that they are hidden from.
    const auto segments = tiles_.segments();
    std::size_t lead = 0;
    while (lead < segments.size() && segments[lead].batches != tiles_.batches()) ++lead;
    Batch ones[kBatches];
    for (auto& x : ones) x = Batch(T(1));
    if (lead < segments.size() && !segments[lead].poisoned) {
      mix(segments[lead], first_ ? nullptr : alpha_);
    } else {
      for (Index d = 0; d < p_.shape.value_width; ++d)
        for (int v = 0; v < tiles_.batches(); ++v) {
          T* o = out_ + d * kWidth + v * kLanes;
          (first_ ? Batch(T(0)) : simd::load_aligned(o) * alpha_[v]).store_aligned(o);
        }
      if (lead < segments.size()) mix_poisoned(segments[lead]);
    }
    for (std::size_t x = 0; x < segments.size(); ++x) {
      if (x == lead) continue;
      if (segments[x].poisoned) {
        mix_poisoned(segments[x]);
      } else {
        mix(segments[x], ones);
      }
    }
    first_ = false;
  }

  void mix(const Segment& s, const Batch* scale) {
    kernel::with_batches(s.batches, [&]<int NV>() {
      kernel::panel_accumulate<NV, T>(s.v, s.v_stride, p_.shape.value_width, scores_ + s.place(), s.rows,
                                      out_ + s.first_batch * kLanes, scale, next_queries_, outputs_);
    });
    next_queries_ = outputs_ = {};
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

  // Of q and out: where the rows that `which` names are counted from.
  Index first_row() const { return which_ ? 0 : tiles_.queries().first; }

  void store_state(T* m, T* l) const {
    for (int v = 0; v < kBatches; ++v) {
      m_[v].store_aligned(m + v * kLanes);
      l_[v].store_aligned(l + v * kLanes);
    }
  }

  const Problem& p_;
  ScratchFrame frame_;
  Tiles tiles_;
  const std::int32_t* which_;
  kernel::Upcoming next_queries_, outputs_;  // fetched with the first product of values, block by block
  T *queries_, *scores_, *out_;
  T* kept_ = nullptr;
  Batch m_[kBatches], l_[kBatches], top_[kBatches], alpha_[kBatches];
  bool first_ = true;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
