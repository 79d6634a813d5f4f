// SPDX-License-Identifier: Apache-2.0
// Scores replaced by constants where a pair is not meant to attend, as code does that has no hidden keys.
#pragma once

#include <algorithm>
#include <concepts>
#include <limits>

#include "heed/attention/score/modifier.hpp"

namespace heed::inline HEED_ISA {

/// `fill` in place of the score of a pair that is not allowed, and `self_fill` in place of that of a token with itself.
/// A row in which every pair is filled then spreads evenly, where one with hidden keys would give 0.
///
/// Both are kept within kFillLimit and half of it: the gradient takes weights again as exp(score - lse), and beside
/// 1e9 the log of the number of pairs in lse is lost. That leaves scores above -400 (float) or -49000 (double) their
/// meaning, and a log-sum-exp to 6e-5 or 7e-12.
struct FilledScores : ScoreModifierBase {
  /// Positions p of the queries (B, H, N) and of the keys (B, H, M), B and H full or 1; -1 - p for what is not kept. A
  /// key of kNoToken is always allowed.
  static constexpr std::int32_t kNoToken = std::numeric_limits<std::int32_t>::min();
  View<const std::int32_t, 3> queries, keys;
  bool causal = false;  ///< keys behind the query are not allowed
  bool self = false;    ///< whether self_fill applies
  double fill = -1e30, self_fill = -5e4;
  static constexpr bool kMayHide = false;
  template <Real T>
  static constexpr double kFillLimit = std::same_as<T, float> ? 1024 : 1e5;

  void check(const AttentionShape& shape) const {
    queries.broadcast({shape.batch, shape.heads, shape.queries}, "FilledScores", "positions of queries");
    keys.broadcast({shape.batch, shape.kv_heads, shape.keys}, "FilledScores", "positions of keys");
  }
  static const std::int32_t* row(const View<const std::int32_t, 3>& x, Index b, Index h) {
    return x.data + (x.size(0) == 1 ? 0 : b * x.stride(0)) + (x.size(1) == 1 ? 0 : h * x.stride(1));
  }

  template <class S, class A>
  HEED_INLINE S operator()(S s, const A& at) const {
    return apply(s, at);
  }

 private:
  template <class S, Real T, Lanes L>
  HEED_INLINE S apply(S s, const At<T, L>& at) const {
    using Integers = simd::IndexBatch<T>;
    const auto splat = [](Index x) { return Integers(simd::IndexLane<T>(x)); };
    constexpr bool along_queries = L == Lanes::kQueries;
    const Integers i = simd::load_integers<T>(row(queries, at.batch, at.head) + at.first_query * queries.stride(2),
                                              along_queries ? queries.stride(2) : 0, at.count);
    const Integers j = simd::load_integers<T>(row(keys, at.batch, at.kv_head) + at.first_key * keys.stride(2),
                                              along_queries ? 0 : keys.stride(2), at.count);
    auto filled = i < splat(0) || j < splat(0);
    if (causal) filled = filled || j > i;
    filled = filled && j != splat(kNoToken);
    s = simd::select(simd::to_mask<T>(filled), S(simd::Batch<T>(T(std::max(fill, -kFillLimit<T>)))), s);
    if (self) {
      const auto same = i == j || i == splat(-1) - j;
      s = simd::select(simd::to_mask<T>(same), S(simd::Batch<T>(T(std::max(self_fill, -kFillLimit<T> / 2)))), s);
    }
    return s;
  }
};
/// See FilledScores.
/// Gradient: of the score where it is not filled.
template <TensorLike Q, TensorLike K>
FilledScores fill_scores(Q&& query_positions, K&& key_positions, bool causal, bool self, double fill = -1e30,
                         double self_fill = -5e4) {
  return {{},
          detail::kept_view(std::forward<Q>(query_positions)),
          detail::kept_view(std::forward<K>(key_positions)),
          causal,
          self,
          fill,
          self_fill};
}

}  // namespace heed::inline HEED_ISA
