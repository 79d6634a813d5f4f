// SPDX-License-Identifier: Apache-2.0
// single: what was reduced to one element, as a loss.
#pragma once

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// A tensor or variable of one element and any rank as one of rank 1. Throws heed::Error for more elements.
///
/// Gradient: of the blocks that it is made of: that of a view, at the same place.
template <Operand X>
auto single(const X& x) {
  require(values_of(x).count() == 1, "single", "x must have one element, got shape ", shape_text(sizes_of(x)));
  if constexpr (Recorded<X>) {
    return x.template reshape<1>({1});
  } else {
    Tensor<OperandScalar<X>, 1> out(1);
    out(0) = *const_view(x).data;
    return out;
  }
}

}  // namespace heed::inline HEED_ISA
