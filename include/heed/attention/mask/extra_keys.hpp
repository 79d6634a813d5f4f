// SPDX-License-Identifier: Apache-2.0
// Keys behind the sequence's own that every query sees: learned keys, a key of zeros, registers.
#pragma once

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

/// A rule on the first keys alone.
template <VisibilityRule R>
struct ExtraKeys : VisibilityRuleBase {
  R rule;
  Index keys;  // the sequence's own
  static constexpr int kPlanes = detail::kPlanesOf<R>;
  static constexpr bool kWholeRuns = detail::kWholeRunsOf<R>;

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    if (at.first_key >= keys) return simd::Mask<T>(true);
    if constexpr (L == Lanes::kQueries) {
      return detail::test(rule, at);
    } else {
      At<T, L> own = at;
      own.count = std::min(at.count, keys - at.first_key);
      const auto beyond = at.key() >= typename At<T, L>::Integers(simd::IndexLane<T>(keys));
      return detail::test(rule, own) || simd::to_mask<T>(beyond);
    }
  }
  Run run(QueryTile tile, Index key) const {
    if (key >= keys) return {Seen::kAll, kEndless};
    tile.keys = keys;
    const Run own = detail::run_of(rule, tile, key);
    return {own.seen, std::min(own.end, keys)};
  }
  void check(AttentionShape shape) const {
    require(keys >= 0 && keys <= shape.keys, "with_extra_keys", "of M = ", shape.keys, " keys, ", keys,
            " cannot be the sequence's own");
    shape.keys = keys;
    detail::check_part(rule, shape);
  }
  template <Real T>
  void fill(PairTile tile, T* plane, Index plane_size) const {
    tile.keys = std::min(tile.keys, keys - tile.first_key);
    if (tile.keys > 0) detail::fill_planes(rule, tile, plane, plane_size);
  }
};
/// `rule` for the first `keys` keys, of which alone it is told; all keys behind them are visible to every query. The
/// default positions count them too: for a rule by position, set SoftmaxOptions::position_offset to keys - N.
///
/// No gradient: visibility is piecewise constant.
template <VisibilityRule R>
auto with_extra_keys(R rule, Index keys) {
  return ExtraKeys<R>{{}, std::move(rule), keys};
}

}  // namespace heed::inline HEED_ISA
