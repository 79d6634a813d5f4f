// SPDX-License-Identifier: Apache-2.0
// blend of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/blend.hpp"

namespace heed::inline HEED_ISA {

/// blend into a variable that nothing has read yet; tensors beside it are parameters.
template <Device D, Operand W, Operand A, Operand B, Recorded O>
void blend(const D& device, const W& weight_like, const A& a_like, const B& b_like, const O& out) {
  auto& tape = tape_of("blend", out);
  const auto weight = tape.operand(weight_like);
  const auto a = tape.operand(a_like);
  const auto b = tape.operand(b_like);
  blend(DeviceRef(device), weight.value(), a.value(), b.value(), tape.written(out));
  tape.on_backward(out, [&tape, weight, a, b, out] {
    blend_backward(tape.device(), weight.value(), a.value(), b.value(), tape.gradient(out), tape.accumulate(weight),
                   tape.accumulate(a), tape.accumulate(b));
  });
}

}  // namespace heed::inline HEED_ISA
