// SPDX-License-Identifier: Apache-2.0
// Activations of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/activation.hpp"

namespace heed::inline HEED_ISA {

/// activate of a Var, and with it relu, silu, gelu and all the others, into another, which nothing has read yet.
template <Device D, ActivationFunction F, Recorded X>
void activate(const D& device, const F& f, const X& x, const X& out) {
  auto& tape = tape_of("activate", x);
  const X in = tape.operand(x);
  activate(DeviceRef(device), f, in.value(), tape.written(out));
  tape.on_backward(out, [&tape, f, in, out] {
    activate_backward(tape.device(), f, in.value(), tape.gradient(out), tape.accumulate(in));
  });
}

}  // namespace heed::inline HEED_ISA
