// SPDX-License-Identifier: Apache-2.0
// linear of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// linear where x, weight or bias is a Var; the others may be tensors, which are then parameters. The result is a new
/// variable, or goes into `out`, which nothing has read yet.
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
template <Device D, Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto linear(const D& device, const X& x_like, const W& weight_like, const B& bias_like) {
  auto sizes = sizes_of(x_like);
  sizes.back() = sizes_of(weight_like)[0];
  const auto out = tape_of("linear", x_like, weight_like, bias_like).template make<kOperandRank<X>>(sizes);
  linear(device, x_like, weight_like, bias_like, out);
  return out;
}
template <Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto linear(const X& x, const W& weight, const B& bias) { return linear(DeviceRef(), x, weight, bias); }

}  // namespace heed::inline HEED_ISA
