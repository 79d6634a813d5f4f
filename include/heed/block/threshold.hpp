// SPDX-License-Identifier: Apache-2.0
// threshold_mask: which elements of a row reach a limit of that row.
#pragma once

#include <cstdint>

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// mask(b, j) = x(b, j) >= limit(b) + offset: x (B, M), limit (B), the result (B, M) uint8; computed in double. NaN
/// reaches nothing. Throws heed::Error for shapes that do not fit. Time O(B M).
///
/// No gradient: a comparison has none.
template <Operand X, TensorLike L>
Tensor<std::uint8_t, 2> threshold_mask(const X& x, const L& limit, double offset = 0) {
  static_assert(kOperandRank<X> == 2 && kRankOf<L> == 1, "heed::threshold_mask: x is (B, M) and the limits (B)");
  const auto from = values_of(x);
  const auto least = const_view(limit);
  require_shape("threshold_mask", "limit", least.sizes, std::array<Index, 1>{from.size(0)});
  Tensor<std::uint8_t, 2> mask(from.sizes);
  for (Index b = 0; b < from.size(0); ++b)
    for (Index j = 0; j < from.size(1); ++j) mask(b, j) = double(from(b, j)) >= double(least(b)) + offset;
  return mask;
}

}  // namespace heed::inline HEED_ISA
