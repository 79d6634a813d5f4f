// SPDX-License-Identifier: Apache-2.0
// Sums, differences, products and multiples of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// elementwise of a Var, and of another or a tensor, which is then a parameter, into a Var that nothing has read yet.
template <class Operation, Device D, Operand A, Operand B, Recorded O>
requires AnyRecorded<A, B>
void elementwise(Operation operation, const D& device, const A& a_like, const B& b_like, const O& out) {
  auto& tape = tape_of(Operation::kName, a_like, b_like);
  const auto a = tape.operand(a_like);
  const auto b = tape.operand(b_like);
  elementwise(operation, DeviceRef(device), a.value(), b.value(), tape.written(out));
  tape.on_backward(out, [&tape, operation, a, b, out] {
    elementwise_backward(operation, tape.device(), a.value(), b.value(), tape.gradient(out), tape.accumulate(a),
                         tape.accumulate(b));
  });
}
/// The same into a Var of its own, and with it add, subtract and multiply.
template <class Operation, Device D, Operand A, Operand B>
requires AnyRecorded<A, B>
auto elementwise(Operation operation, const D& device, const A& a, const B& b) {
  auto& tape = tape_of(Operation::kName, a, b);
  const auto out = tape.template make<detail::kJointRank<A, B>>(detail::joint_sizes(Operation::kName, a, b));
  elementwise(operation, device, a, b, out);
  return out;
}

/// scale of a Var.
template <Device D, Recorded X>
X scale(const D& device, const X& x, double factor) {
  auto& tape = tape_of("scale", x);
  const X out = tape.template make<X::rank>(x.sizes());
  scale(DeviceRef(device), x.value(), factor, tape.written(out));
  tape.on_backward(out, [&tape, x, factor, out] {
    if (const auto d_x = tape.accumulate(x); d_x.data)
      scale<kernel::Write::kAdd>(tape.device(), tape.gradient(out), factor, d_x);
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
