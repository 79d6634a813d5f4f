// SPDX-License-Identifier: Apache-2.0
// embedding by a table that is a variable.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/embedding.hpp"

namespace heed::inline HEED_ISA {

/// embedding where the table is a Var: tape.parameter(table) of a tensor. The tape keeps a copy of the indices.
template <Device D, Recorded W, TensorLike I, Recorded O>
void embedding(const D& device, const W& table, const I& indices, const O& out) {
  auto& tape = tape_of("embedding", table);
  const auto entries = tape.operand(table);
  const auto at = tape.keep(const_view(indices));
  embedding(DeviceRef(device), entries.value(), at, tape.written(out));
  tape.on_backward(out, [&tape, entries, at, out] {
    embedding_backward(tape.device(), at, tape.gradient(out), tape.accumulate(entries));
  });
}

}  // namespace heed::inline HEED_ISA
