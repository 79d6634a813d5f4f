// SPDX-License-Identifier: Apache-2.0
// Visibility by an interval of keys for each query.
#pragma once

#include <algorithm>

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

/// Keys [first, last) of each query.
struct KeyRange : VisibilityRuleBase {
  View<const std::int32_t, 2> first, last;

  void check(const AttentionShape& shape) const {
    const std::array<Index, 2> expected{shape.batch, shape.queries};
    require(first.sizes == expected && last.sizes == expected, "key_range",
            "first and last must have shape (B, N) = ", shape_text(expected), ", got ", shape_text(first.sizes),
            " and ", shape_text(last.sizes));
  }

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    const auto of_query = [&](const View<const std::int32_t, 2>& bound) {
      return simd::load_integers<T>(bound.at(at.batch, at.first_query), L == Lanes::kQueries ? bound.stride(1) : 0,
                                    at.count);
    };
    return simd::as_mask<T>(at.key() >= of_query(first)) && simd::as_mask<T>(at.key() < of_query(last));
  }

  Run run(const QueryTile& tile, Index key) const {
    // Some query sees [some_first, some_last), all of them see [all_first, all_last).
    Index some_first = kEndless, some_last = 0, all_first = 0, all_last = kEndless;
    for (Index i = tile.first; i < tile.last; ++i) {
      const Index begin = first(tile.batch, i), end = last(tile.batch, i);
      all_first = std::max(all_first, begin);
      all_last = std::min(all_last, end);
      if (begin >= end) continue;
      some_first = std::min(some_first, begin);
      some_last = std::max(some_last, end);
    }
    if (key < some_first) return {Seen::kNone, some_first};
    if (key >= some_last) return {Seen::kNone, kEndless};
    if (all_first < all_last && key < all_last)
      return key < all_first ? Run{Seen::kSome, all_first} : Run{Seen::kAll, all_last};
    return {Seen::kSome, some_last};
  }
};
/// Key j is visible to query i where first(b, i) <= j < last(b, i): (B, N) int32, read when the attention runs; an
/// empty interval hides every key, and bounds beyond 0 .. M mean those. Keys that no query of a tile sees are skipped.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike F, TensorLike L>
KeyRange key_range(F&& first, L&& last) {
  static_assert(std::same_as<ScalarOf<F>, std::int32_t> && std::same_as<ScalarOf<L>, std::int32_t>,
                "heed::key_range: bounds are std::int32_t");
  return {{}, detail::kept_view(std::forward<F>(first)), detail::kept_view(std::forward<L>(last))};
}

}  // namespace heed::inline HEED_ISA
