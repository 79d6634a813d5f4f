// SPDX-License-Identifier: Apache-2.0
// linear of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// linear into a variable that nothing has read yet; tensors among x, weight and bias are parameters.
template <Device D, Operand X, Operand W, Operand B, Recorded O>
void linear(const D& device, const X& x_like, const W& weight_like, const B& bias_like, const O& out) {
  auto& tape = tape_of("linear", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  linear(DeviceRef(device), x.value(), weight.value(), bias.value(), tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, out] {
    linear_backward(tape.device(), x.value(), weight.value(), tape.gradient(out), tape.accumulate(x),
                    tape.accumulate(weight), tape.accumulate(bias));
  });
}

}  // namespace heed::inline HEED_ISA
