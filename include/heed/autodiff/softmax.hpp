// SPDX-License-Identifier: Apache-2.0
// softmax of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// softmax of a Var into another, which nothing has read yet.
template <Device D, Recorded X>
void softmax(const D& device, const X& x, const X& out) {
  auto& tape = tape_of("softmax", x);
  const X in = tape.operand(x);
  softmax(DeviceRef(device), in.value(), tape.written(out));
  tape.on_backward(
      out, [&tape, in, out] { softmax_backward(tape.device(), out.value(), tape.gradient(out), tape.accumulate(in)); });
}

}  // namespace heed::inline HEED_ISA
