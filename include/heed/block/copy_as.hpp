// SPDX-License-Identifier: Apache-2.0
// copy_as: elements in row-major order under another shape.
#pragma once

#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// A copy of x in row-major order with `sizes`, of as many elements: copy_as<1>(device, loss, {1}). Any strides. A
/// contiguous variable is not copied. Throws heed::Error for another number of elements.
/// Gradient: of the blocks that it is made of.
template <int To, Device D, Operand X>
auto copy_as(const D& device, const X& x, const std::array<Index, std::size_t(To)>& sizes) {
  if constexpr (Recorded<X>) {
    if (x.value().is_contiguous()) return x.template reshape<To>(sizes);
    return contiguous(device, x).template reshape<To>(sizes);
  } else {
    Tensor<ScalarOf<X>, To> out;
    out.resize(sizes);
    kernel::copy<kernel::Write::kAssign>(device, const_view(x),
                                         view(out).template reshape<kRankOf<X>>(const_view(x).sizes));
    return out;
  }
}

}  // namespace heed::inline HEED_ISA
