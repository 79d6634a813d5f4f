// SPDX-License-Identifier: Apache-2.0
// blend of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/blend.hpp"

namespace heed::inline HEED_ISA {

/// blend where weight, a or b is a Var; the others may be tensors, which are then parameters.
template <Device D, Operand W, Operand A, Operand B>
requires AnyRecorded<W, A, B>
auto blend(const D& device, const W& weight_like, const A& a_like, const B& b_like) {
  auto& tape = tape_of("blend", weight_like, a_like, b_like);
  const auto weight = tape.operand(weight_like);
  const auto a = tape.operand(a_like);
  const auto b = tape.operand(b_like);
  const auto out = tape.template make<kOperandRank<A>>(a.sizes());
  blend(DeviceRef(device), weight.value(), a.value(), b.value(), tape.written(out));
  tape.on_backward(out, [&tape, weight, a, b, out] {
    blend_backward(tape.device(), weight.value(), a.value(), b.value(), tape.gradient(out), tape.accumulate(weight),
                   tape.accumulate(a), tape.accumulate(b));
  });
  return out;
}
template <Operand W, Operand A, Operand B>
requires AnyRecorded<W, A, B>
auto blend(const W& weight, const A& a, const B& b) { return blend(DeviceRef(), weight, a, b); }

}  // namespace heed::inline HEED_ISA
