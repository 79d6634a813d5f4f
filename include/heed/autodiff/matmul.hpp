// SPDX-License-Identifier: Apache-2.0
// matmul of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// matmul into a variable that nothing has read yet; a tensor beside it is a parameter.
template <Device D, Operand A, Operand B, Recorded O>
void matmul(const D& device, const A& a_like, const B& b_like, const O& out) {
  auto& tape = tape_of("matmul", out);
  const auto a = tape.operand(a_like);
  const auto b = tape.operand(b_like);
  matmul(DeviceRef(device), a.value(), b.value(), tape.written(out));
  tape.on_backward(out, [&tape, a, b, out] {
    matmul_backward(tape.device(), a.value(), b.value(), tape.gradient(out), tape.accumulate(a), tape.accumulate(b));
  });
}

}  // namespace heed::inline HEED_ISA
