// SPDX-License-Identifier: Apache-2.0
// unit_norm: rows of length 1.
#pragma once

#include <cmath>

#include "heed/block/elementwise.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// x / |x| over the last axis of x (.., C): 0 for a row of zeros. Rows are taken to be longer than 1e-12 or zero. Any
/// rank, strides and storage. A row has the same bits in any batch and for any device.
///
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto unit_norm(const D& device, const X& x) {
  const Tensor<OperandScalar<X>, 1> no_weight;
  const double width = double(sizes_of(x).back());
  return scale(device, rms_norm(device, x, no_weight, 1e-30), 1 / std::sqrt(width));
}

}  // namespace heed::inline HEED_ISA
