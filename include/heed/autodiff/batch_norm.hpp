// SPDX-License-Identifier: Apache-2.0
// batch_norm of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/batch_norm.hpp"

namespace heed::inline HEED_ISA {

/// batch_norm where x, weight or bias is a Var; the others may be tensors, of which weight and bias are then
/// parameters. The statistics are read again by the backward and have no gradient.
template <Device D, Operand X, Operand W, Operand B, Operand M, Operand V>
requires AnyRecorded<X, W, B>
auto batch_norm(const D& device, const X& x_like, const W& weight_like, const B& bias_like, const M& mean_like,
                const V& var_like, double eps = 1e-5) {
  auto& tape = tape_of("batch_norm", x_like, weight_like, bias_like);
  const auto x = tape.operand(x_like);
  const auto weight = tape.operand(weight_like);
  const auto bias = tape.operand(bias_like);
  const auto mean = values_of(mean_like);
  const auto var = values_of(var_like);
  detail::check_batch_norm(x, weight, bias, mean, var, eps);
  const auto out = tape.template make<kOperandRank<X>>(x.sizes());
  batch_norm(DeviceRef(device), x.value(), weight.value(), bias.value(), mean, var, eps, tape.written(out));
  tape.on_backward(out, [&tape, x, weight, bias, mean, var, eps, out] {
    batch_norm_backward(tape.device(), x.value(), weight.value(), mean, var, eps, tape.gradient(out),
                        tape.accumulate(x), tape.accumulate(weight), tape.accumulate(bias));
  });
  return out;
}
template <Operand X, Operand W, Operand B, Operand M, Operand V>
requires AnyRecorded<X, W, B>
auto batch_norm(const X& x, const W& weight, const B& bias, const M& mean, const V& var, double eps = 1e-5) {
  return batch_norm(DeviceRef(), x, weight, bias, mean, var, eps);
}

}  // namespace heed::inline HEED_ISA
