// SPDX-License-Identifier: Apache-2.0
// conv_2d of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/conv_2d.hpp"

namespace heed::inline HEED_ISA {

/// conv_2d where x, weight or bias is a Var; the others may be tensors, which are then parameters.
template <Device D, Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto conv_2d(const D& device, const X& x_like, const W& weight_like, const B& bias_like,
             const ConvOptions& options = {}) {
  auto& tape = tape_of("conv_2d", x_like, weight_like, bias_like);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  const auto out = tape.template make<4>(detail::conv_2d_sizes(x.sizes(), weight.sizes(), bias.count(), options));
  conv_2d(DeviceRef(device), x.value(), weight.value(), bias.value(), options, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, options, out] {
    conv_2d_backward(tape.device(), x.value(), weight.value(), options, tape.gradient(out), tape.accumulate(x),
                     tape.accumulate(weight), tape.accumulate(bias));
  });
  return out;
}
template <Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto conv_2d(const X& x, const W& weight, const B& bias, const ConvOptions& options = {}) {
  return conv_2d(DeviceRef(), x, weight, bias, options);
}

}  // namespace heed::inline HEED_ISA
