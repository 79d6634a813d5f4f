// SPDX-License-Identifier: Apache-2.0
// Visibility of the keys of one class: the tokens of one modality.
#pragma once

#include <algorithm>

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

/// Keys whose class is `wanted`.
struct KeyClass : VisibilityRuleBase {
  View<const std::int32_t, 2> classes;
  std::int32_t wanted;

  void check(const AttentionShape& shape) const {
    const std::array<Index, 2> expected{shape.batch, shape.keys};
    require(classes.sizes == expected, "key_class", "classes must have shape (B, M) = ", shape_text(expected), ", got ",
            shape_text(classes.sizes));
  }

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    if constexpr (L == Lanes::kQueries) {
      return simd::Mask<T>(classes(at.batch, at.first_key) == wanted);
    } else {
      using Integers = typename At<T, L>::Integers;
      return simd::as_mask<T>(simd::load_integers<T>(classes.at(at.batch, at.first_key), classes.stride(1), at.count) ==
                              Integers(simd::IndexLane<T>(wanted)));
    }
  }

  Run run(const QueryTile& tile, Index key) const {
    if (key >= tile.keys) return {Seen::kNone, kEndless};
    // What is seen is scanned again for every tile of keys, so not too far at a time.
    constexpr Index kScan = 128;
    const bool seen = classes(tile.batch, key) == wanted;
    const Index limit = seen ? std::min(tile.keys, key + kScan) : tile.keys;
    Index end = key + 1;
    while (end < limit && (classes(tile.batch, end) == wanted) == seen) ++end;
    return {seen ? Seen::kAll : Seen::kNone, end};
  }
};
/// Key j is visible where classes(b, j) == wanted: (B, M) int32, such as a modality per token; read when the attention
/// runs. Runs of other keys are skipped.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike X>
KeyClass key_class(X&& classes, std::int32_t wanted) {
  static_assert(std::same_as<ScalarOf<X>, std::int32_t>, "heed::key_class: classes are std::int32_t");
  return {{}, detail::kept_view(std::forward<X>(classes)), wanted};
}

}  // namespace heed::inline HEED_ISA
