// SPDX-License-Identifier: Apache-2.0
// linear_scan of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/scan/linear_scan.hpp"

namespace heed::inline HEED_ISA {

/// Tensors among the operands are parameters.
template <Device D, Operand Q, Operand K, Operand V, Operand G, Operand B, Operand S>
requires AnyRecorded<Q, K, V, G, B, S>
auto linear_scan(const D& device, const Q& q_like, const K& k_like, const V& v_like, const G& decay_like,
                 const B& beta_like, const S& state_like, const LinearScanOptions& options = {}) {
  auto& tape = tape_of("linear_scan", q_like, k_like, v_like, decay_like, beta_like, state_like);
  const auto q = tape.operand(q_like), k = tape.operand(k_like), v = tape.operand(v_like);
  const auto decay = tape.operand(decay_like), beta = tape.operand(beta_like), state = tape.operand(state_like);
  using X = std::remove_const_t<decltype(q)>;
  const detail::ScanProblem<typename X::Scalar> problem(q.value(), k.value(), v.value(), decay.value(), beta.value(),
                                                        state.value(), options);
  const LinearScanResult<X> result{tape.template make<4>(problem.out_sizes()),
                                   tape.template make<4>(problem.state_sizes())};
  linear_scan(DeviceRef(device), q.value(), k.value(), v.value(), decay.value(), beta.value(), state.value(), options,
              tape.written(result.out), tape.written(result.state));
  const auto backward = [&tape, q, k, v, decay, beta, state, options, result] {
    linear_scan_backward(tape.device(), q.value(), k.value(), v.value(), decay.value(), beta.value(), state.value(),
                         options, tape.gradient(result.out), tape.gradient(result.state), tape.accumulate(q),
                         tape.accumulate(k), tape.accumulate(v), tape.accumulate(decay), tape.accumulate(beta),
                         tape.accumulate(state));
  };
  if (result.state.count() == 0) {
    tape.on_backward(result.out, backward);
  } else if (result.out.count() == 0) {
    tape.on_backward(result.state, backward);
  } else {
    tape.on_backward(result.out, result.state, backward);
  }
  return result;
}

}  // namespace heed::inline HEED_ISA
