// SPDX-License-Identifier: Apache-2.0
// lower_triangle of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/triangle.hpp"

namespace heed::inline HEED_ISA {

/// lower_triangle of a Var into another, which nothing has read yet.
template <Device D, Recorded X>
void lower_triangle(const D& device, const X& x, Index diagonal, const X& out) {
  auto& tape = tape_of("lower_triangle", x);
  lower_triangle(DeviceRef(device), x.value(), diagonal, tape.written(out));
  tape.on_backward(out, [&tape, x, diagonal, out] {
    lower_triangle_backward(tape.device(), tape.gradient(out), diagonal, tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
