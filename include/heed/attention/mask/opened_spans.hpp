// SPDX-License-Identifier: Apache-2.0
// opened_spans: a rectangle of queries by keys that is visible whatever other rules say.
#pragma once

#include "heed/attention/mask/standard.hpp"

namespace heed::inline HEED_ISA {

/// Queries of one span see the keys of the one behind it.
struct OpenedSpans : VisibilityRuleBase {
  View<const std::int32_t, 2> spans;  // (B, 3)

  void check(const AttentionShape& shape) const {
    require_shape("opened_spans", "spans", spans.sizes, std::array<Index, 2>{shape.batch, 3});
  }
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    const auto value = [&](Index i) { return detail::lane_value(at, spans(at.batch, i)); };
    return at.query() >= value(0) && at.query() < value(1) && at.key() >= value(1) && at.key() < value(2);
  }
  Run run(const QueryTile& tile, Index key) const {
    const Index a = spans(tile.batch, 0), b = spans(tile.batch, 1), c = spans(tile.batch, 2);
    if (tile.last <= a || tile.first >= b || key >= c) return {Seen::kNone, kEndless};
    if (key < b) return {Seen::kNone, b};
    return {tile.first >= a && tile.last <= b ? Seen::kAll : Seen::kSome, c};
  }
};
/// Key j is visible to query i where a <= i < b <= j < c: spans (B, 3) int32 of a, b and c, for `||` with other rules.
/// Read when the attention runs.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike S>
OpenedSpans opened_spans(S&& spans) {
  static_assert(std::same_as<ScalarOf<S>, std::int32_t> && kRankOf<S> == 2,
                "heed::opened_spans: spans are (B, 3) int32");
  return {{}, detail::kept_view(std::forward<S>(spans))};
}

}  // namespace heed::inline HEED_ISA
