// SPDX-License-Identifier: Apache-2.0
// linear of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// linear where x, weight or bias is a Var; the others may be tensors, which are then parameters.
template <Device D, Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto linear(const D& device, const X& x_like, const W& weight_like, const B& bias_like) {
  auto& tape = tape_of("linear", x_like, weight_like, bias_like);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  auto sizes = x.sizes();
  sizes.back() = weight.size(0);
  const auto out = tape.template make<kOperandRank<X>>(sizes);
  linear(DeviceRef(device), x.value(), weight.value(), bias.value(), tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, out] {
    linear_backward(tape.device(), x.value(), weight.value(), tape.gradient(out), tape.accumulate(x),
                    tape.accumulate(weight), tape.accumulate(bias));
  });
  return out;
}
template <Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto linear(const X& x, const W& weight, const B& bias) { return linear(DeviceRef(), x, weight, bias); }

}  // namespace heed::inline HEED_ISA
