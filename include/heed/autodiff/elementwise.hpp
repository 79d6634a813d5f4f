// SPDX-License-Identifier: Apache-2.0
// Sums, differences, products and multiples of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// elementwise, and with it add, subtract and multiply, into a variable that nothing has read yet; a tensor beside it
/// is a parameter.
template <class Operation, Device D, Operand A, Operand B, Recorded O>
void elementwise(Operation operation, const D& device, const A& a_like, const B& b_like, const O& out) {
  auto& tape = tape_of(Operation::kName, out);
  const auto a = tape.operand(a_like);
  const auto b = tape.operand(b_like);
  elementwise(operation, DeviceRef(device), a.value(), b.value(), tape.written(out));
  tape.on_backward(out, [&tape, operation, a, b, out] {
    elementwise_backward(operation, tape.device(), a.value(), b.value(), tape.gradient(out), tape.accumulate(a),
                         tape.accumulate(b));
  });
}

/// scale of a Var into another, which nothing has read yet.
template <Device D, Recorded X>
void scale(const D& device, const X& x, double factor, const X& out) {
  auto& tape = tape_of("scale", x);
  scale(DeviceRef(device), x.value(), factor, tape.written(out));
  tape.on_backward(out, [&tape, x, factor, out] {
    if (const auto d_x = tape.accumulate(x); d_x.data)
      scale<kernel::Write::kAdd>(tape.device(), tape.gradient(out), factor, d_x);
  });
}

}  // namespace heed::inline HEED_ISA
