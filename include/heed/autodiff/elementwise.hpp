// SPDX-License-Identifier: Apache-2.0
// Sums, differences, products and multiples of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// elementwise, and with it add, subtract and multiply, where an operand is a Var; the other may be a tensor, which is
/// then a parameter.
template <class Operation, Device D, Operand A, Operand B>
requires AnyRecorded<A, B>
auto elementwise(Operation operation, const D& device, const A& a_like, const B& b_like) {
  auto& tape = tape_of(Operation::kName, a_like, b_like);
  const auto a = tape.operand(a_like);
  const auto b = tape.operand(b_like);
  const auto out = tape.template make<detail::kJointRank<A, B>>(detail::joint_sizes(Operation::kName, a, b));
  elementwise(operation, DeviceRef(device), a.value(), b.value(), tape.written(out));
  tape.on_backward(out, [&tape, operation, a, b, out] {
    elementwise_backward(operation, tape.device(), a.value(), b.value(), tape.gradient(out), tape.accumulate(a),
                         tape.accumulate(b));
  });
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
