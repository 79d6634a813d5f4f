// SPDX-License-Identifier: Apache-2.0
// group_norm of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/group_norm.hpp"

namespace heed::inline HEED_ISA {

/// group_norm where x, weight or bias is a Var; the others may be tensors, which are then parameters.
template <Device D, Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto group_norm(const D& device, const X& x_like, Index groups, const W& weight_like, const B& bias_like,
                double eps = 1e-5) {
  auto& tape = tape_of("group_norm", x_like, weight_like, bias_like);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  detail::check_group_norm(x, groups, weight, bias, eps);
  const auto out = tape.template make<kOperandRank<X>>(x.sizes());
  group_norm(DeviceRef(device), x.value(), groups, weight.value(), bias.value(), eps, tape.written(out));
  tape.on_backward(out, [&tape, x, groups, weight, bias, eps, out] {
    group_norm_backward(tape.device(), x.value(), groups, weight.value(), eps, tape.gradient(out), tape.accumulate(x),
                        tape.accumulate(weight), tape.accumulate(bias));
  });
  return out;
}
template <Operand X, Operand W, Operand B>
requires AnyRecorded<X, W, B>
auto group_norm(const X& x, Index groups, const W& weight, const B& bias, double eps = 1e-5) {
  return group_norm(DeviceRef(), x, groups, weight, bias, eps);
}

}  // namespace heed::inline HEED_ISA
