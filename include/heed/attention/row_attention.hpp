// SPDX-License-Identifier: Apache-2.0
// The fused kernel for few queries: one pass over the keys and values for all rows (query heads x queries) that share
// them.
//
// The lanes run along the width, every key and value is read once for all rows, and nothing but bandwidth counts.
#pragma once

#include <bit>

#include "heed/attention/problem.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/rows.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Keys of a chunk. Keys and values of 16 x 128 floats are 8 KiB each and stay in the first-level cache while several
/// rows pass over them; with 64 keys the same loops read at 21 GB/s instead of 27.
inline constexpr Index kKeyChunk = 16;

/// The same for kernel::kManyRows, whose arithmetic takes as long as the memory: with 16 keys, 16 heads on one key of
/// 128 take 1.11 times as long.
inline constexpr Index kKeyChunkOfMany = kernel::kMixKeysOfMany;

/// How far a score may exceed the maximum of before, in powers of the problem's base, until the sums are scaled anew:
/// seldom, because what was weighed is then mixed first.
inline constexpr int kRise = 8;

template <class Problem>
class RowAttention {
 public:
  using T = typename Problem::T;
  using Key = typename Problem::Source::Key;
  using Value = typename Problem::Source::Value;
  using Batch = simd::Batch<T>;
  static constexpr Index kLanes = simd::kLanes<T>;
  static_assert(kKeyChunk % kLanes == 0);

  /// Query heads [first_head, first_head + heads) of one key head, queries [first, first + count) of each.
  RowAttention(const Problem& problem, Index b, Index first_head, Index heads, Index first, Index count)
      : p_(problem),
        tile_{b, first_head, first_head / problem.group(), first, first + count, problem.offset(b), problem.shape.keys},
        heads_(heads),
        rows_(heads * count),
        width_(kernel::padded<T>(problem.shape.width)),
        value_width_(kernel::padded<T>(problem.shape.value_width) + kLanes),
        chunk_(rows_ >= kernel::kManyRows ? kKeyChunkOfMany : kKeyChunk) {
    if (rows_ < kernel::kManyRows) {
      const auto& s = problem.shape;
      const Index bytes =
          s.batch * s.kv_heads * s.keys * (s.width * Index(sizeof(Key)) + s.value_width * Index(sizeof(Value)));
      keys_ahead_ = kernel::rows_ahead<Key>(rows_, s.width, bytes);
      values_ahead_ = kernel::rows_ahead<Value>(rows_, s.value_width, bytes);
    }
    queries_ = frame_.take<T>(rows_ * width_);
    scores_ = frame_.take<T>(rows_ * chunk_);
    out_ = frame_.take<T>(rows_ * value_width_);
    states_ = frame_.take<RowState<T>>(rows_);
    sums_ = frame_.take<T>(rows_ * kLanes);
    std::fill(sums_, sums_ + rows_ * kLanes, T(0));
    std::fill(out_, out_ + rows_ * value_width_, T(0));
    ScratchFrame local;
    T* scaled = local.take<T>(rows_ * width_);
    for (Index g = 0; g < rows_; ++g) {
      states_[g] = {};
      const auto* q = p_.q.at(b, head_of(g), query_of(g));
      for (Index d = 0; d < p_.shape.width; ++d)
        scaled[g * width_ + d] = simd::widen<T>(q[d * p_.q.stride(3)]) * p_.query_scale();
    }
    kernel::interleave_rows<T>(scaled, width_, rows_, p_.shape.width, queries_);
  }

  /// Runs over the visible keys of [begin, end).
  void run(Index begin, Index end) {
    for (Index key = begin; key < end;) {
      const Run run = seen_by_rows(key);
      const Index stop = std::min(run.end, end);
      if (run.seen == Seen::kNone) key = stop;
      while (key < stop) {
        const auto keys = p_.source.keys(tile_.batch, tile_.kv_head, key);
        const auto values = p_.source.values(tile_.batch, tile_.kv_head, key);
        const Index last = key + std::min({stop - key, keys.count, values.count});
        for (Index j = 0; key < last; j += chunk_) {
          const Index count = std::min(chunk_, last - key);
          attend_chunk(keys.from(j), values.from(j), key, count, run.seen == Seen::kSome, next_keys(key + count, end));
          key += count;
        }
      }
    }
  }

  /// Writes outputs and log-sum-exps.
  void finish() {
    for (Index g = 0; g < rows_; ++g) {
      const Index h = head_of(g), i = query_of(g);
      const RowResult<T> result = finish_row<Problem::kBase, T>(state(g), p_.sink(tile_.batch, h));
      if (p_.lse.data) p_.lse(tile_.batch, h, i) = result.lse;
      auto* out = p_.out.at(tile_.batch, h, i);
      for (Index d = 0; d < p_.shape.value_width; ++d)
        out[d * p_.out.stride(3)] = static_cast<typename Problem::Out>(out_[g * value_width_ + d] * result.factor);
    }
  }

  /// Writes the states of one of several key ranges.
  void finish(const PartialRows<T>& partial, Index split) {
    for (Index g = 0; g < rows_; ++g) {
      const Index row = (tile_.batch * p_.shape.heads + head_of(g)) * p_.shape.queries + query_of(g);
      partial.states[partial.slot(row, split)] = state(g);
      std::copy_n(out_ + g * value_width_, p_.shape.value_width,
                  partial.sums + partial.slot(row, split) * partial.width);
    }
  }

  /// Calls emit(head, query, first key, scores, count) for every row of every chunk, with the modified scores,
  /// -infinity where hidden; nothing is normalised.
  template <class Emit>
  void scores(Index end, Emit&& emit) {
    for (Index key = 0; key < end;) {
      const Run run = seen_by_rows(key);
      const Index stop = std::min({run.end, end, key + chunk_});
      if (run.seen == Seen::kNone) {
        key = std::min(run.end, end);
        continue;
      }
      const auto keys = p_.source.keys(tile_.batch, tile_.kv_head, key);
      const Index count = std::min(stop - key, keys.count);
      dot_chunk(keys, count, {});
      modify_chunk(key, count, run.seen == Seen::kSome);
      for (Index g = 0; g < rows_; ++g) emit(head_of(g), query_of(g), key, scores_ + g * chunk_, count);
      key += count;
    }
  }

 private:
  Index queries_per_head() const { return tile_.last - tile_.first; }
  Index head_of(Index g) const { return tile_.head + g / queries_per_head(); }
  Index query_of(Index g) const { return tile_.first + g % queries_per_head(); }

  // What the rows of all heads see: a run is skipped only if none of them sees it.
  Run seen_by_rows(Index key) const {
    QueryTile tile = tile_;
    Run all = run_of(p_.rule, tile, key);
    for (Index h = 1; h < heads_; ++h) {
      tile.head = tile_.head + h;
      const Run run = run_of(p_.rule, tile, key);
      if (run.seen != all.seen) all.seen = Seen::kSome;
      all.end = std::min(all.end, run.end);
    }
    return all;
  }

  // The keys of the next chunk, for many rows.
  kernel::Upcoming next_keys(Index key, Index end) const {
    if (rows_ < kernel::kManyRows || key >= end) return {};
    const auto keys = p_.source.keys(tile_.batch, tile_.kv_head, key);
    return kernel::upcoming(keys.data, keys.stride, std::min({keys.count, end - key, chunk_}), p_.shape.width);
  }

  void dot_chunk(const RowRun<Key>& keys, Index count, const kernel::Upcoming& next) {
    const Index width = p_.shape.width;
    if (keys.inner == 1 || width <= 1) {
      kernel::row_dot<T>(queries_, rows_, keys.data, keys.stride, count, width, scores_, chunk_, keys_ahead_, next);
    } else {
      if (!key_copy_) key_copy_ = frame_.take<T>(chunk_ * width_);
      kernel::copy_rows<T>(keys.data, keys.stride, keys.inner, count, width, key_copy_, width_);
      kernel::row_dot<T>(queries_, rows_, key_copy_, width_, count, width, scores_, chunk_, 0, next);
    }
  }

  // Score modifiers and visibility, with the lanes along the keys.
  void modify_chunk(Index key, Index count, bool tested) {
    if (Problem::kPlain && !tested) return;
    constexpr Index w = simd::kLanes<T>;
    const Batch hidden(-std::numeric_limits<T>::infinity());
    At<T, Lanes::kKeys> at;
    at.batch = tile_.batch;
    at.kv_head = tile_.kv_head;
    at.offset = tile_.offset;
    for (Index g = 0; g < rows_; ++g) {
      at.head = head_of(g);
      at.first_query = query_of(g);
      for (Index j = 0; j < count; j += w) {
        T* s = scores_ + g * chunk_ + j;  // a chunk is a whole number of batches
        at.first_key = key + j;
        at.count = std::min(w, count - j);
        Batch x = p_.score(simd::load_aligned(s), at);
        if (tested) x = simd::select(test(p_.rule, at), x, hidden);
        x.store_aligned(s);
      }
    }
  }

  void attend_chunk(const RowRun<Key>& keys, const RowRun<Value>& values, Index key, Index count, bool tested,
                    const kernel::Upcoming& next) {
    // While the scores are computed the values are fetched, unless they are part of the keys, and then the next keys.
    const bool within_keys = static_cast<const void*>(keys.data) == static_cast<const void*>(values.data);
    kernel::Upcoming beside;
    if (rows_ >= kernel::kManyRows && !within_keys)
      beside = kernel::upcoming(values.data, values.stride, count, p_.shape.value_width);
    dot_chunk(keys, count, beside);
    modify_chunk(key, count, tested);
    may_hide_ = tested || kMayHideOf<typename Problem::Score>;
    if (may_hide_) {
      if (!kept_) kept_ = frame_.take<T>(rows_ * chunk_);
      std::copy_n(scores_, rows_ * chunk_, kept_);
    }
    // The softmax goes in steps of kKeyChunk for any number of rows: they all come to the same bits.
    Index mixed = 0;
    for (Index j = 0; j < count; j += kKeyChunk) {
      if (count - j < kKeyChunk)
        for (Index g = 0; g < rows_; ++g)
          std::fill_n(scores_ + g * chunk_ + count, kKeyChunk - (count - j), -std::numeric_limits<T>::infinity());
      if (j > mixed && any_rises(j)) {
        mix_chunk(values, mixed, j - mixed, {});
        mixed = j;
      }
      for (Index g = 0; g < rows_; ++g) weigh(g, j);
    }
    mix_chunk(values, mixed, count - mixed, next);
  }

  // The larger scores of a step, lane by lane.
  Batch highest(Index g, Index j) const {
    const T* s = scores_ + g * chunk_ + j;
    Batch top = simd::load_aligned(s);
    for (Index x = kLanes; x < kKeyChunk; x += kLanes) top = simd::max(top, simd::load_aligned(s + x));
    return top;
  }
  auto rises(Index g, Batch top) const { return top > Batch(states_[g].m + T(kRise)); }
  bool any_rises(Index j) const {
    auto rise = rises(0, highest(0, j));
    for (Index g = 1; g < rows_; ++g) rise = rise || rises(g, highest(g, j));
    return simd::any(rise);
  }

  // Scores to weights; the sum stays spread over the lanes. The maximum is taken anew only when some score is well
  // above it.
  void weigh(Index g, Index j) {
    T* s = scores_ + g * chunk_ + j;
    const Batch top = highest(g, j);
    if (simd::any(rises(g, top))) raise(g, simd::reduce_max<T>(top));
    const T m = states_[g].m;
    const Batch shift(m == -std::numeric_limits<T>::infinity() ? T(0) : m);
    Batch sum = simd::load_aligned(sums_ + g * kLanes);
    for (Index x = 0; x < kKeyChunk; x += kLanes) {
      const Batch p = kernel::power<Problem::kBase, T>(simd::load_aligned(s + x) - shift);
      sum = sum + p;
      p.store_aligned(s + x);
    }
    sum.store_aligned(sums_ + g * kLanes);
  }

  // A new maximum: what was summed under the old one shrinks.
  void raise(Index g, T m) {
    const Batch alpha(kernel::power<Problem::kBase>(states_[g].m - m));
    states_[g].m = m;
    T* sum = sums_ + g * kLanes;
    (simd::load_aligned(sum) * alpha).store_aligned(sum);
    for (Index d = 0; d < value_width_; d += kLanes) {
      T* o = out_ + g * value_width_ + d;
      (simd::load_aligned(o) * alpha).store_aligned(o);
    }
  }

  RowState<T> state(Index g) const {
    return {states_[g].m, simd::reduce_add<T>(simd::load_aligned(sums_ + g * kLanes))};
  }

  // Keys [first, first + count) of a chunk.
  void mix_chunk(const RowRun<Value>& values, Index first, Index count, const kernel::Upcoming& next) {
    const auto* rows = values.data + first * values.stride;
    if (values.inner == 1 || p_.shape.value_width <= 1) {
      mix_rows(rows, values.stride, first, count, values_ahead_, next);
    } else {
      if (!value_copy_) value_copy_ = frame_.take<T>(chunk_ * value_width_);
      kernel::copy_rows<T>(rows, values.stride, values.inner, count, p_.shape.value_width, value_copy_, value_width_);
      mix_rows(value_copy_, value_width_, first, count, 0, next);
    }
  }

  template <class U>
  void mix_rows(const U* values, Index stride, Index first, Index count, Index ahead, const kernel::Upcoming& next) {
    const Index width = p_.shape.value_width;
    const T* weights = scores_ + first;
    if (!may_hide_ || kernel::all_finite<T>(values, stride, count, width)) {
      kernel::row_mix<T>(weights, chunk_, rows_, values, stride, count, width, out_, value_width_, ahead, next);
      return;
    }
    // A weight of 0 does not hide a value that is infinite or NaN: leave out what a row does not see.
    for (Index g = 0; g < rows_; ++g)
      for (Index j = 0; j < count; ++j) {
        if (kept_[g * chunk_ + first + j] == -std::numeric_limits<T>::infinity()) continue;
        kernel::row_mix<T>(weights + g * chunk_ + j, chunk_, 1, values + j * stride, stride, 1, width,
                           out_ + g * value_width_, value_width_);
      }
  }

  const Problem& p_;
  ScratchFrame frame_;
  QueryTile tile_;
  Index heads_, rows_, width_, value_width_, chunk_;
  Index keys_ahead_ = 0, values_ahead_ = 0;  // rows that are fetched while others are read
  T *queries_, *scores_, *out_, *sums_;
  RowState<T>* states_;
  T *kept_ = nullptr, *key_copy_ = nullptr, *value_copy_ = nullptr;
  bool may_hide_ = false;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
