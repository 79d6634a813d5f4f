// SPDX-License-Identifier: Apache-2.0
// straight_through: values from elsewhere, with the gradient of a tensor.
#pragma once

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// `value` in the place of x, of the same shape: what a quantiser that is not differentiable passes on.
///
/// Gradient: of x, that of the result as it is. Source: Bengio et al. 2013, section 4.
template <TensorLike X, TensorLike V>
auto straight_through(const X& x, V value) {
  require_shape("straight_through", "value", const_view(value).sizes, const_view(x).sizes);
  return value;
}

}  // namespace heed::inline HEED_ISA
