// SPDX-License-Identifier: Apache-2.0
// decay_matrix of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/decay_matrix.hpp"

namespace heed::inline HEED_ISA {

/// decay_matrix of a Var into another, which nothing has read yet.
template <Device D, Recorded X, Recorded O>
void decay_matrix(const D& device, const X& x, const O& out) {
  auto& tape = tape_of("decay_matrix", x);
  decay_matrix(DeviceRef(device), x.value(), tape.written(out));
  tape.on_backward(out, [&tape, x, out] {
    decay_matrix_backward(tape.device(), x.value(), out.value(), tape.gradient(out), tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
