// SPDX-License-Identifier: Apache-2.0
// selective_scan of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/scan/selective_scan.hpp"

namespace heed::inline HEED_ISA {

/// selective_scan into the variables out and end, which nothing has read yet; end is empty where it is not wanted.
/// Tensors among the rest are parameters.
template <Device D, Operand U, Operand Delta, Operand A, Operand B, Operand C, Operand Skip, Operand Z, Operand Bias,
          Operand S, Recorded O, Recorded E>
void selective_scan(const D& device, const U& u_like, const Delta& delta_like, const A& a_like, const B& b_like,
                    const C& c_like, const Skip& skip_like, const Z& z_like, const Bias& bias_like, const S& state_like,
                    const SelectiveScanOptions& options, const O& out, const E& end) {
  auto& tape = tape_of("selective_scan", out);
  using T = typename O::Scalar;
  const auto u = tape.operand(u_like), delta = tape.operand(delta_like), b = tape.operand(b_like),
             c = tape.operand(c_like), z = tape.operand(z_like), state = tape.operand(state_like);
  const auto a = tape.operand(a_like);
  const auto skip = tape.operand(skip_like), bias = tape.operand(bias_like);
  const bool has_end = end.count() > 0;
  selective_scan(DeviceRef(device), u.value(), delta.value(), a.value(), b.value(), c.value(), skip.value(), z.value(),
                 bias.value(), state.value(), options, tape.written(out), has_end ? tape.written(end) : View<T, 3>());
  const auto backward = [&tape, u, delta, a, b, c, skip, z, bias, state, options, out, end, has_end] {
    selective_scan_backward<DeviceRef, T>(
        tape.device(),
        {u.value(), delta.value(), a.value(), b.value(), c.value(), skip.value(), z.value(), bias.value(),
         state.value()},
        options, tape.gradient(out), has_end ? tape.gradient(end) : View<const T, 3>(),
        {tape.accumulate(u), tape.accumulate(delta), tape.accumulate(a), tape.accumulate(b), tape.accumulate(c),
         tape.accumulate(skip), tape.accumulate(z), tape.accumulate(bias), tape.accumulate(state)});
  };
  if (has_end) {
    tape.on_backward(out, end, backward);
  } else {
    tape.on_backward(out, backward);
  }
}
/// Without a gate, and a state before or behind.
template <Device D, Operand U, Operand Delta, Operand A, Operand B, Operand C, Operand Skip, Operand Bias>
requires AnyRecorded<U, Delta, A, B, C, Skip, Bias>
auto selective_scan(const D& device, const U& u, const Delta& delta, const A& a, const B& b, const C& c,
                    const Skip& skip, const Bias& delta_bias, const SelectiveScanOptions& options = {}) {
  using T = OperandScalar<U>;
  auto& tape = tape_of("selective_scan", u, delta, a, b, c, skip, delta_bias);
  const auto out = tape.template make<3>(sizes_of(u));
  selective_scan(device, u, delta, a, b, c, skip, View<const T, 3>(), delta_bias, View<const T, 3>(), options, out,
                 std::remove_const_t<decltype(out)>());
  return out;
}

}  // namespace heed::inline HEED_ISA
