// SPDX-License-Identifier: Apache-2.0
// lower_triangle of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/triangle.hpp"

namespace heed::inline HEED_ISA {

/// lower_triangle of a Var.
template <Device D, Recorded X>
X lower_triangle(const D& device, const X& x, Index diagonal = 0) {
  auto& tape = tape_of("lower_triangle", x);
  const X out = tape.template make<X::rank>(x.sizes());
  lower_triangle(DeviceRef(device), x.value(), diagonal, tape.written(out));
  tape.on_backward(out, [&tape, x, diagonal, out] {
    lower_triangle_backward(tape.device(), tape.gradient(out), diagonal, tape.accumulate(x));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
