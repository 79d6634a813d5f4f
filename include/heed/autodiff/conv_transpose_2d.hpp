// SPDX-License-Identifier: Apache-2.0
// conv_transpose_2d of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/conv_transpose_2d.hpp"

namespace heed::inline HEED_ISA {

/// conv_transpose_2d where x, weight or bias is a Var; the others may be tensors, which are then parameters.
template <Device D, Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto conv_transpose_2d(const D& device, const X& x_like, const W& weight_like, const B& bias_like,
                       const ConvOptions& options = {}, const std::array<Index, 2>& output_padding = {0, 0}) {
  auto& tape = tape_of("conv_transpose_2d", x_like, weight_like, bias_like);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  const auto out = tape.template make<4>(
      detail::conv_transpose_2d_sizes(x.sizes(), weight.sizes(), bias.count(), options, output_padding));
  conv_transpose_2d(DeviceRef(device), x.value(), weight.value(), bias.value(), options, output_padding,
                    tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, options, out] {
    conv_transpose_2d_backward(tape.device(), x.value(), weight.value(), options, tape.gradient(out),
                               tape.accumulate(x), tape.accumulate(weight), tape.accumulate(bias));
  });
  return out;
}
template <Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto conv_transpose_2d(const X& x, const W& weight, const B& bias, const ConvOptions& options = {},
                       const std::array<Index, 2>& output_padding = {0, 0}) {
  return conv_transpose_2d(DeviceRef(), x, weight, bias, options, output_padding);
}

}  // namespace heed::inline HEED_ISA
