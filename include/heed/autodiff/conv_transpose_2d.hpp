// SPDX-License-Identifier: Apache-2.0
// conv_transpose_2d of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/conv_transpose_2d.hpp"

namespace heed::inline HEED_ISA {

/// conv_transpose_2d into a variable that nothing has read yet; tensors among x, weight and bias are parameters.
template <Device D, Operand X, Operand W, Operand B, Recorded O>
void conv_transpose_2d(const D& device, const X& x_like, const W& weight_like, const B& bias_like,
                       const ConvOptions& options, const std::array<Index, 2>& output_padding, const O& out) {
  auto& tape = tape_of("conv_transpose_2d", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  conv_transpose_2d(DeviceRef(device), x.value(), weight.value(), bias.value(), options, output_padding,
                    tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, options, out] {
    conv_transpose_2d_backward(tape.device(), x.value(), weight.value(), options, tape.gradient(out),
                               tape.accumulate(x), tape.accumulate(weight), tape.accumulate(bias));
  });
}

}  // namespace heed::inline HEED_ISA
