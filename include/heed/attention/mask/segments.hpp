// SPDX-License-Identifier: Apache-2.0
// Visibility between tokens of the same segment: documents packed into one sequence, by an id per token.
#pragma once

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

/// Queries see the keys with their own id.
struct Segments : VisibilityRuleBase {
  View<const std::int32_t, 2> queries, keys;

  void check(const AttentionShape& shape) const {
    const std::array<Index, 2> q{shape.batch, shape.queries}, k{shape.batch, shape.keys};
    require(queries.sizes == q, "segments", "q_segment must have shape (B, N) = ", shape_text(q), ", got ",
            shape_text(queries.sizes));
    require(keys.sizes == k, "segments", "kv_segment must have shape (B, M) = ", shape_text(k), ", got ",
            shape_text(keys.sizes));
  }

  template <Real T, Lanes L>
  HEED_INLINE auto operator()(const At<T, L>& at) const {
    constexpr bool along_queries = L == Lanes::kQueries;
    return simd::load_integers<T>(queries.at(at.batch, at.first_query), along_queries ? queries.stride(1) : 0,
                                  at.count) ==
           simd::load_integers<T>(keys.at(at.batch, at.first_key), along_queries ? 0 : keys.stride(1), at.count);
  }

  Run run(const QueryTile& tile, Index key) const {
    if (key >= tile.keys) return {Seen::kNone, kEndless};
    std::int32_t low = queries(tile.batch, tile.first), high = low;
    for (Index i = tile.first + 1; i < tile.last; ++i) {
      low = std::min(low, queries(tile.batch, i));
      high = std::max(high, queries(tile.batch, i));
    }
    Index end = key;
    while (end < tile.keys && outside(tile, end, low, high)) ++end;
    if (end > key) return {Seen::kNone, end};
    const std::int32_t id = keys(tile.batch, key);
    bool any = low == id || high == id;
    for (Index i = tile.first; !any && i < tile.last; ++i) any = queries(tile.batch, i) == id;
    // What is seen is scanned again for every tile of keys, so not too far at a time.
    constexpr Index kScan = 128;
    const Index limit = any ? std::min(tile.keys, key + kScan) : tile.keys;
    for (end = key + 1; end < limit && keys(tile.batch, end) == id;) ++end;
    return {!any ? Seen::kNone : low == high ? Seen::kAll : Seen::kSome, end};
  }

 private:
  bool outside(const QueryTile& tile, Index key, std::int32_t low, std::int32_t high) const {
    const std::int32_t id = keys(tile.batch, key);
    return id < low || id > high;
  }
};
/// Key j is visible to query i where q_segment(b, i) == kv_segment(b, j). (B, N) and (B, M) int32, ids in any order;
/// read when the attention runs. Runs of equal ids that no query of a tile has are skipped. Where documents lie one
/// after the other, documents() says the same without an id per token.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike Q, TensorLike K>
Segments segments(Q&& q_segment, K&& kv_segment) {
  static_assert(std::same_as<ScalarOf<Q>, std::int32_t> && std::same_as<ScalarOf<K>, std::int32_t>,
                "heed::segments: ids are std::int32_t");
  return {{}, detail::kept_view(std::forward<Q>(q_segment)), detail::kept_view(std::forward<K>(kv_segment))};
}

}  // namespace heed::inline HEED_ISA
