// SPDX-License-Identifier: Apache-2.0
// Visibility by blocks of tokens: a query's own block and some before and behind it.
#pragma once

#include "heed/attention/mask/standard.hpp"
#include "heed/core/divide.hpp"

namespace heed::inline HEED_ISA {

/// Queries of block x see the keys of blocks x - back .. x + forward.
struct BlockWindow : VisibilityRuleBase {
  Divider by_size;
  Index back, forward;

  Index size() const { return by_size.divisor(); }
  Index begin_of(Index query) const { return (by_size.quotient(query) - back) * size(); }
  Index end_of(Index query) const { return (by_size.quotient(query) + forward + 1) * size(); }

  template <Real T, Lanes L>
  HEED_INLINE auto operator()(const At<T, L>& at) const {
    // From either side the other one is an interval, so that no lane needs a block of its own.
    constexpr bool along_queries = L == Lanes::kQueries;
    const Index fixed = by_size.quotient(along_queries ? at.first_key : at.first_query);
    const Index first = (fixed - (along_queries ? forward : back)) * size();
    const Index last = (fixed + (along_queries ? back : forward) + 1) * size() - 1;
    const auto lanes = along_queries ? at.query() : at.key();
    return lanes >= detail::lane_value(at, first) && lanes <= detail::lane_value(at, last);
  }
  Run run(const QueryTile& tile, Index key) const {
    const Index some_begin = begin_of(tile.first), all_begin = begin_of(tile.last - 1);
    const Index all_end = end_of(tile.first), some_end = end_of(tile.last - 1);
    if (key < some_begin) return {Seen::kNone, some_begin};
    if (key >= some_end) return {Seen::kNone, kEndless};
    if (key >= all_begin && key < all_end) return {Seen::kAll, all_end};
    return {Seen::kSome, key < all_begin && all_begin < all_end ? all_begin : some_end};
  }
};

/// Key j is visible to query i when floor(i / size) - back <= floor(j / size) <= floor(i / size) + forward; queries and
/// keys are counted from 0, size of 1 or more, back and forward of 0 or more.
///
/// No gradient: visibility is piecewise constant.
inline BlockWindow block_window(Index size, Index back, Index forward) {
  require(size > 0 && size < detail::kFarthest, "block_window", "the size must be in 1 .. 2^30 - 1, got ", size);
  require(back >= 0 && forward >= 0, "block_window", "back and forward must be 0 or more, got ", back, " and ",
          forward);
  const Index most = detail::kFarthest / size / 2;  // blocks beyond mean the same, and no lane overflows
  return {{}, Divider(size), std::min(back, most), std::min(forward, most)};
}

}  // namespace heed::inline HEED_ISA
