// SPDX-License-Identifier: Apache-2.0
// unit_rows: rows of length 1, whose products are cosines.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// x / sqrt(|x|^2 + 1e-24) over the last axis, which is x / max(|x|, 1e-12) up to rounding but for lengths next to
/// 1e-12: x (.., C), the result as x; 0 for a row of zeros. Any rank and strides. Cost of rms_norm.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto unit_rows(const D& device, const X& x) {
  const double width = double(std::max<Index>(1, sizes_of(x).back()));
  const RmsNorm<OperandScalar<X>> norm{{}, 1e-24 / width};
  return scale(device, norm(device, x), 1 / std::sqrt(width));
}
template <Operand X>
auto unit_rows(const X& x) {
  return unit_rows(DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
