// SPDX-License-Identifier: Apache-2.0
// depthwise_1d of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/depthwise_1d.hpp"

namespace heed::inline HEED_ISA {

/// depthwise_1d into a variable that nothing has read yet; tensors among x, weight and bias are parameters.
template <Device D, Operand X, Operand W, Operand B, Recorded O>
void depthwise_1d(const D& device, const X& x_like, const W& weight_like, const B& bias_like,
                  const DepthwiseOptions& options, const O& out) {
  auto& tape = tape_of("depthwise_1d", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  depthwise_1d(DeviceRef(device), x.value(), weight.value(), bias.value(), options, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, options, out] {
    depthwise_1d_backward(tape.device(), x.value(), weight.value(), options, tape.gradient(out), tape.accumulate(x),
                          tape.accumulate(weight), tape.accumulate(bias));
  });
}

}  // namespace heed::inline HEED_ISA
