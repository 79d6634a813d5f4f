// SPDX-License-Identifier: Apache-2.0
// items: blocks of tokens that see themselves, with one more block at the end of the sequence.
#pragma once

#include "heed/attention/mask/standard.hpp"
#include "heed/core/divide.hpp"

namespace heed::inline HEED_ISA {

/// Tokens of one item, and the last item with the token that ends the sequence, see each other.
struct Items : VisibilityRuleBase {
  Divider by_length;
  Index tail;  // the first token of the block at the end

  void check(const AttentionShape& shape) const {
    require(shape.queries == shape.keys, "items", "queries and keys must be the same tokens, got N = ", shape.queries,
            " and M = ", shape.keys);
  }
  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    // Seeing is mutual: the lanes that the token of the other side sees are two intervals.
    const Index other = L == Lanes::kQueries ? at.first_key : at.first_query;
    const auto lanes = L == Lanes::kQueries ? at.query() : at.key();
    const Index start = other - by_length.remainder(other);
    const auto seen = simd::to_mask<T>(lanes >= detail::lane_value(at, start) &&
                                       lanes < detail::lane_value(at, start + by_length.divisor()));
    if (other < tail) return seen;
    return seen || simd::to_mask<T>(lanes >= detail::lane_value(at, tail));
  }
  Run run(const QueryTile& tile, Index key) const {
    const Index length = by_length.divisor(), item = by_length.quotient(key);
    const Index first = by_length.quotient(tile.first), last = by_length.quotient(tile.last - 1);
    const bool at_end = key >= tail;
    const bool any = (item >= first && item <= last) || (at_end && tile.last > tail);
    const bool all = (item == first && item == last) || (at_end && tile.first >= tail);
    Index end = (item + 1) * length;
    if (!any && item < first) end = first * length;
    if (!any && item > last && tile.last <= tail) return {Seen::kNone, kEndless};
    if (!at_end && (!any || end > tail)) end = std::min(end, std::max(tail, key + 1));
    return {all ? Seen::kAll : any ? Seen::kSome : Seen::kNone, end};
  }
};
/// Key j is visible to query i where floor(i / length) = floor(j / length), or where both are among the last length + 1
/// of `tokens` tokens: items of `length` >= 1 tokens and the end of the sequence, which belongs to the last of them.
///
/// No gradient: visibility is piecewise constant.
inline Items items(Index length, Index tokens) {
  require(length > 0 && tokens > length, "items", "needs 1 <= length < tokens, got ", length, " and ", tokens);
  return {{}, Divider(length), tokens - 1 - length};
}

}  // namespace heed::inline HEED_ISA
