// SPDX-License-Identifier: Apache-2.0
// layer_norm and rms_norm of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// layer_norm into a variable that nothing has read yet; tensors beside it are parameters.
template <Device D, Operand X, Operand W, Operand B, Recorded O>
void layer_norm(const D& device, const X& x_like, const W& weight_like, const B& bias_like, double eps, const O& out) {
  auto& tape = tape_of("layer_norm", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  layer_norm(DeviceRef(device), x.value(), weight.value(), bias.value(), eps, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, eps, out] {
    layer_norm_backward(tape.device(), x.value(), weight.value(), eps, tape.gradient(out), tape.accumulate(x),
                        tape.accumulate(weight), tape.accumulate(bias));
  });
}
/// rms_norm into a variable that nothing has read yet; tensors beside it are parameters.
template <Device D, Operand X, Operand W, Recorded O>
void rms_norm(const D& device, const X& x_like, const W& weight_like, double eps, const O& out) {
  auto& tape = tape_of("rms_norm", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  rms_norm(DeviceRef(device), x.value(), weight.value(), eps, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, eps, out] {
    rms_norm_backward(tape.device(), x.value(), weight.value(), eps, tape.gradient(out), tape.accumulate(x),
                      tape.accumulate(weight));
  });
}
}  // namespace heed::inline HEED_ISA
