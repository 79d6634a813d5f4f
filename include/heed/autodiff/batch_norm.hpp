// SPDX-License-Identifier: Apache-2.0
// batch_norm of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/batch_norm.hpp"

namespace heed::inline HEED_ISA {

/// batch_norm into a variable that nothing has read yet; tensors among x, weight and bias are parameters. The
/// statistics are read again by the backward and have no gradient.
template <Device D, Operand X, Operand W, Operand B, Operand M, Operand V, Recorded O>
void batch_norm(const D& device, const X& x_like, const W& weight_like, const B& bias_like, const M& mean_like,
                const V& var_like, double eps, const O& out) {
  auto& tape = tape_of("batch_norm", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  const auto mean = values_of(mean_like);
  const auto var = values_of(var_like);
  batch_norm(DeviceRef(device), x.value(), weight.value(), bias.value(), mean, var, eps, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, mean, var, eps, out] {
    batch_norm_backward(tape.device(), x.value(), weight.value(), mean, var, eps, tape.gradient(out),
                        tape.accumulate(x), tape.accumulate(weight), tape.accumulate(bias));
  });
}

}  // namespace heed::inline HEED_ISA
