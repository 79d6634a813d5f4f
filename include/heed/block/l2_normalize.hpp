// SPDX-License-Identifier: Apache-2.0
// l2_normalize: vectors of length 1.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// out = x / max(|x|, eps) over the last axis, of x (.., C); a vector of zeros stays one. eps is positive, and its
/// square must be a number of x's type (from 1e-18 for float). Throws heed::Error for another eps.
/// Gradient: of the blocks that it is made of; where |x| is below eps, of x / eps.
template <Device D, Operand X>
auto l2_normalize(const D& device, const X& x, double eps = 1e-12) {
  constexpr int rank = kOperandRank<X>;
  require(std::isfinite(eps) && OperandScalar<X>(eps * eps) > OperandScalar<X>(0), "l2_normalize",
          "eps must be positive with a square above 0, got ", eps);
  const int axes[1] = {rank - 1};
  const auto squares = multiply(device, x, x);
  const auto length = sum(device, squares, axes);
  const auto floored = activate(device, AtLeast{eps * eps}, length);
  const auto factor = activate(device, InverseSqrt{}, floored);
  return multiply(device, x, factor);
}

}  // namespace heed::inline HEED_ISA
