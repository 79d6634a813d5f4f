// SPDX-License-Identifier: Apache-2.0
// depthwise_1d of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/depthwise_1d.hpp"

namespace heed::inline HEED_ISA {

/// depthwise_1d where x, weight or bias is a Var; the others may be tensors, which are then parameters.
template <Device D, Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto depthwise_1d(const D& device, const X& x_like, const W& weight_like, const B& bias_like,
                  const DepthwiseOptions& options) {
  auto& tape = tape_of("depthwise_1d", x_like, weight_like, bias_like);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  const auto out =
      tape.template make<kOperandRank<X>>(detail::depthwise_sizes(x.sizes(), weight.sizes(), bias.size(0), options));
  depthwise_1d(DeviceRef(device), x.value(), weight.value(), bias.value(), options, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, options, out] {
    depthwise_1d_backward(tape.device(), x.value(), weight.value(), options, tape.gradient(out), tape.accumulate(x),
                          tape.accumulate(weight), tape.accumulate(bias));
  });
  return out;
}
template <Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto depthwise_1d(const X& x, const W& weight, const B& bias, const DepthwiseOptions& options) {
  return depthwise_1d(DeviceRef(), x, weight, bias, options);
}

}  // namespace heed::inline HEED_ISA
