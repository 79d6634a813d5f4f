// SPDX-License-Identifier: Apache-2.0
// softmax of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// softmax of a Var.
template <Device D, Recorded X>
X softmax(const D& device, const X& x) {
  auto& tape = tape_of("softmax", x);
  const X in = tape.operand(x);
  const X out = tape.template make<X::rank>(in.sizes());
  softmax(DeviceRef(device), in.value(), tape.written(out));
  tape.on_backward(
      out, [&tape, in, out] { softmax_backward(tape.device(), out.value(), tape.gradient(out), tape.accumulate(in)); });
  return out;
}
template <Recorded X>
X softmax(const X& x) {
  return softmax(DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
