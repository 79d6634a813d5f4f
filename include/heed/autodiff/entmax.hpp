// SPDX-License-Identifier: Apache-2.0
// entmax of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/entmax.hpp"

namespace heed::inline HEED_ISA {

/// entmax of a Var, with a number for alpha.
template <Device D, Recorded X>
X entmax(const D& device, const X& x, double alpha) {
  auto& tape = tape_of("entmax", x);
  const X out = tape.template make<X::rank>(x.sizes());
  entmax_into(DeviceRef(device), x.value(), alpha, tape.written(out));
  tape.on_backward(out, [&tape, x, alpha, out] {
    entmax_backward(tape.device(), out.value(), alpha, tape.gradient(out), tape.accumulate(x));
  });
  return out;
}
/// entmax with an alpha for each row, where x or alpha is a Var.
template <Device D, Operand X, Operand A>
requires AnyRecorded<X, A>
auto entmax(const D& device, const X& x_like, const A& alpha_like) {
  auto& tape = tape_of("entmax", x_like, alpha_like);
  const auto x = tape.operand(x_like);
  const auto alpha = tape.operand(alpha_like);
  const auto out = tape.template make<kOperandRank<X>>(x.sizes());
  entmax_into(DeviceRef(device), x.value(), alpha.value(), tape.written(out));
  tape.on_backward(out, [&tape, x, alpha, out] {
    entmax_backward(tape.device(), out.value(), alpha.value(), tape.gradient(out), tape.accumulate(x),
                    tape.accumulate(alpha));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
