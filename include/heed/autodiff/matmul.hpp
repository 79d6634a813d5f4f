// SPDX-License-Identifier: Apache-2.0
// matmul of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// matmul where a or b is a Var; the other may be a tensor, which is then a parameter. The result is a new variable, or
/// goes into `out`, which nothing has read yet.
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
template <Device D, Operand A, Operand B>
requires AnyRecorded<A, B>
auto matmul(const D& device, const A& a, const B& b) {
  const auto out = tape_of("matmul", a, b).template make<kOperandRank<A>>(detail::matmul_sizes(a, b));
  matmul(device, a, b, out);
  return out;
}
template <Operand A, Operand B>
requires AnyRecorded<A, B>
auto matmul(const A& a, const B& b) { return matmul(DeviceRef(), a, b); }

}  // namespace heed::inline HEED_ISA
