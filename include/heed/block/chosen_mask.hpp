// SPDX-License-Identifier: Apache-2.0
// chosen_mask: a choice by indices as a mask of zeros and ones.
#pragma once

#include <cstdint>

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// out(.., indices(.., s)) = 1, all else 0: indices (.., k) int32, of which negative ones choose nothing, out (..,
/// width) of T. Throws heed::Error for an index of width or more. Time O(out).
///
/// No gradient: the choice has none; what it is multiplied with has.
template <class T, TensorLike I>
auto chosen_mask(const I& indices_like, Index width) {
  constexpr int rank = kRankOf<I>;
  const auto indices = const_view(indices_like);
  auto sizes = indices.sizes;
  sizes.back() = width;
  Tensor<T, rank> out;
  out.resize(sizes);
  out.setZero();
  const Index k = indices.sizes.back(), rows = k > 0 ? indices.count() / k : 0;
  const auto flat = packed_with(indices);
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < k; ++s) {
      const Index at = flat.data()[r * k + s];
      require(at < width, "chosen_mask", "index ", at, " is beyond the width ", width);
      if (at >= 0) out.data()[r * width + at] = T(1);
    }
  return out;
}

}  // namespace heed::inline HEED_ISA
