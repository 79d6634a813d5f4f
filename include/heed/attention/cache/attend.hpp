// SPDX-License-Identifier: Apache-2.0
// Attention over a key/value cache: any composition of scores and visibility, over any store.
#pragma once

#include "heed/attention/cache/contiguous.hpp"
#include "heed/attention/cache/paged.hpp"
#include "heed/attention/cache/ring.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// A store of keys and values by position: ContiguousCache, PagedCache, RingCache, or a user's own with the same
/// members.
template <class C>
concept KeyValueCache = requires(const C& cache, const View<const std::int32_t, 1>& counts, Index n) {
  typename C::Scalar;
  { C::kEvicts } -> std::convertible_to<bool>;  // a new token may take the place of one that an earlier query sees
  { cache.check() } -> std::same_as<detail::CacheSizes>;
  cache.check_attend(n);
  { cache.source(n, true) } -> KeyValueSource;
  { cache.rule(counts) } -> VisibilityRule;
};

namespace detail {

/// Scores that are the same wherever their query and key stand.
template <class Score>
inline constexpr bool kPositionFree = false;
template <>
inline constexpr bool kPositionFree<Identity> = true;
template <>
inline constexpr bool kPositionFree<ScaleBy> = true;
template <>
inline constexpr bool kPositionFree<Softcap> = true;
template <class U>
inline constexpr bool kPositionFree<SinkLogit<U>> = true;
template <class First, class Second>
inline constexpr bool kPositionFree<Chain<First, Second>> = kPositionFree<First>&& kPositionFree<Second>;
template <class F>
inline constexpr bool kPositionFree<OptionalScore<F>> = kPositionFree<F>;

template <class Score, class Rule>
inline constexpr bool kFolded = kPositionFree<Score>&& std::same_as<Rule, Everything>;

/// Everything about a call that can be wrong, so that nothing is once the cache has changed. `fresh`: tokens yet to be
/// appended.
template <class C, class Score, class Rule, class UQ, class UO, class L>
void check_cached(const C& cache, const SoftmaxAttention<Score, Rule>& attention, const View<const UQ, 4>& q,
                  Index fresh, const Into<UO, 4, L>& target, std::string_view where) {
  const CacheSizes sizes = cache.check();
  Index keys = 0;
  for (Index b = 0; b < sizes.batch; ++b) keys = std::max<Index>(keys, cache.lengths(b) + fresh);
  require(q.size(0) == sizes.batch && q.size(3) == sizes.width, where,
          "q must have shape (B, H, N, D) with B = ", sizes.batch, " and D = ", sizes.width, " as in the cache, got ",
          shape_text(q.sizes));
  require(sizes.width > 0 && sizes.value_width > 0, where, "D and Dv must be 1 or more, got ", sizes.width, " and ",
          sizes.value_width);
  require(q.size(1) == 0 || (sizes.kv_heads > 0 && q.size(1) % sizes.kv_heads == 0), where, "the number of heads ",
          q.size(1), " must be a multiple of the number of key/value heads ", sizes.kv_heads);
  const std::array<Index, 4> out{q.size(0), q.size(1), q.size(2), sizes.value_width};
  require(target.out.sizes == out, where, "out must have shape ", shape_text(out), ", got ",
          shape_text(target.out.sizes));
  const std::array<Index, 3> lse{q.size(0), q.size(1), q.size(2)};
  require(!target.has_lse() || target.lse.sizes == lse, where, "lse must have shape ", shape_text(lse), ", got ",
          shape_text(target.lse.sizes));
  require(!attention.options.scale || std::isfinite(heed::Compute<UQ>(*attention.options.scale)), where,
          "the scale must be finite, got ", attention.options.scale.value_or(0));
  require(!attention.options.position_offset, where,
          "position_offset must be left out: positions are those of the cache");
  const AttentionShape shape{q.size(0), q.size(1), sizes.kv_heads, q.size(2), keys, q.size(3), sizes.value_width};
  check_part(attention.score, shape);
  check_part(attention.rule, shape);
}

template <Device D, class Score, class Rule, class UQ, class C, class Source, class UO, class L>
void attend_source(const D& device, const SoftmaxAttention<Score, Rule>& attention, const View<const UQ, 4>& q,
                   const C& cache, const Source& source, const Into<UO, 4, L>& target) {
  ScratchFrame frame;
  const Index batch = q.size(0);
  std::int32_t* counts = frame.take<std::int32_t>(batch);
  Index keys = 0;
  for (Index b = 0; b < batch; ++b) {
    counts[b] = std::int32_t(source.count(b));
    keys = std::max<Index>(keys, counts[b]);
  }
  const auto rule = cache.rule(View<const std::int32_t, 1>(counts, {batch}));
  const Index kv_heads = cache.k.dimension(1), value_width = cache.v.dimension(3);
  using CacheRule = std::remove_const_t<decltype(rule)>;
  if constexpr (std::same_as<Rule, Everything>) {
    SoftmaxAttention<Score, CacheRule>{attention.score, rule, attention.options}.from(device, q, source, kv_heads, keys,
                                                                                      value_width, target);
  } else {
    SoftmaxAttention<Score, And<CacheRule, Rule>>{attention.score, rule && attention.rule, attention.options}.from(
        device, q, source, kv_heads, keys, value_width, target);
  }
}

template <Device D, class Score, class Rule, class UQ, class UK, class UV, class C, class UO, class L>
void append_and_attend(const D& device, const SoftmaxAttention<Score, Rule>& attention, const View<const UQ, 4>& q,
                       const View<const UK, 4>& k_new, const View<const UV, 4>& v_new, C& cache,
                       const Into<UO, 4, L>& target, std::string_view where) {
  using U = typename C::Scalar;
  cache.check_append(k_new, v_new);
  const Index n = k_new.size(2);
  require(q.size(2) == n, where, "q must have the ", n, " tokens of k_new, got shape ", shape_text(q.sizes));
  check_cached(cache, attention, q, n, target, where);
  constexpr bool folded = kFolded<Score, Rule>;
  if constexpr (C::kEvicts) {
    if (n > 1) {
      // The old rows from the ring, the new ones from where they are, as they will be stored.
      ScratchFrame frame;
      const auto stored = [&]<class From>(const View<const From, 4>& rows) {
        if constexpr (std::same_as<From, U>) {
          return rows;
        } else {
          return View<U, 4>(frame.take<U>(rows.count()), rows.sizes);
        }
      };
      const auto k = stored(k_new);
      const auto v = stored(v_new);
      if constexpr (!std::same_as<UK, U>) write_tensor(device, k_new, k);
      if constexpr (!std::same_as<UV, U>) write_tensor(device, v_new, v);
      attend_source(device, attention, q, cache, cache.source(k, v, folded), target);
      cache.append(device, k_new, v_new);
      return;
    }
  }
  cache.append(device, k_new, v_new);
  attend_source(device, attention, q, cache, cache.source(n, folded), target);
}

}  // namespace detail

/// Attention of q (B, H, N, D), the queries of the last N tokens of every sequence, over what the cache holds: query i
/// of batch b stands at position lengths[b] - N + i and sees the keys up to there that its store keeps (of a ring: the
/// sinks and the window). `attention` is any heed::softmax_attention(score, rule, options); positions, distances and
/// windows in it are those of the whole sequences. Queries before position 0 see nothing. Writes `into(out)` or
/// `into(out, lse)`. Throws heed::Error before anything is written; for a ring, also if N > 1 and keys that the first
/// of the queries sees have been overwritten. No allocation after the first call of a shape; the same bits for any
/// device.
///
/// No gradient: a cache is written in place. Whole sequences are for training: softmax_attention records.
template <Device D, class Score, class Rule, TensorLike Q, KeyValueCache C, class UO, class L>
void attend(const D& device, const SoftmaxAttention<Score, Rule>& attention, const Q& q, const C& cache,
            const Into<UO, 4, L>& target) {
  static_assert(kRankOf<Q> == 4, "heed::attend: q must have shape (B, H, N, D)");
  const auto queries = const_view(q);
  detail::check_cached(cache, attention, queries, 0, target, "attend");
  cache.check_attend(queries.size(2));
  detail::attend_source(device, attention, queries, cache, cache.source(queries.size(2), detail::kFolded<Score, Rule>),
                        target);
}

template <class Score, class Rule, TensorLike Q, KeyValueCache C, class UO, class L>
void attend(const SoftmaxAttention<Score, Rule>& attention, const Q& q, const C& cache, const Into<UO, 4, L>& target) {
  attend(Eigen::DefaultDevice(), attention, q, cache, target);
}

/// Appends k_new (B, Hk, N, D) and v_new (B, Hk, N, Dv) to the cache and attends to it with q (B, H, N, D), as if one
/// token came after the other: no key that a query sees is overwritten before. Otherwise as attend(). On an error
/// neither the cache nor the outputs have changed.
template <Device D, class Score, class Rule, TensorLike Q, TensorLike K, TensorLike V, KeyValueCache C, class UO,
          class L>
void append_and_attend(const D& device, const SoftmaxAttention<Score, Rule>& attention, const Q& q, const K& k_new,
                       const V& v_new, C& cache, const Into<UO, 4, L>& target) {
  static_assert(kRankOf<Q> == 4 && kRankOf<K> == 4 && kRankOf<V> == 4,
                "heed::append_and_attend: q, k_new and v_new must have shape (B, heads, N, D)");
  detail::append_and_attend(device, attention, const_view(q), const_view(k_new), const_view(v_new), cache, target,
                            "append_and_attend");
}
template <class Score, class Rule, TensorLike Q, TensorLike K, TensorLike V, KeyValueCache C, class UO, class L>
void append_and_attend(const SoftmaxAttention<Score, Rule>& attention, const Q& q, const K& k_new, const V& v_new,
                       C& cache, const Into<UO, 4, L>& target) {
  append_and_attend(Eigen::DefaultDevice(), attention, q, k_new, v_new, cache, target);
}

}  // namespace heed::inline HEED_ISA
