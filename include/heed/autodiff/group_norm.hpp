// SPDX-License-Identifier: Apache-2.0
// group_norm of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/group_norm.hpp"

namespace heed::inline HEED_ISA {

/// group_norm into a variable that nothing has read yet; tensors among x, weight and bias are parameters.
template <Device D, Operand X, Operand W, Operand B, Recorded O>
void group_norm(const D& device, const X& x_like, Index groups, const W& weight_like, const B& bias_like, double eps,
                const O& out) {
  auto& tape = tape_of("group_norm", out);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  group_norm(DeviceRef(device), x.value(), groups, weight.value(), bias.value(), eps, tape.written(out));
  tape.on_backward(out, [&tape, x, groups, weight, bias, eps, out] {
    group_norm_backward(tape.device(), x.value(), groups, weight.value(), eps, tape.gradient(out), tape.accumulate(x),
                        tape.accumulate(weight), tape.accumulate(bias));
  });
}

}  // namespace heed::inline HEED_ISA
