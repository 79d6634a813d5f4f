// SPDX-License-Identifier: Apache-2.0
// gather of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/gather.hpp"

namespace heed::inline HEED_ISA {

/// gather of a Var into a variable that nothing has read yet. The tape keeps a copy of the indices.
template <Device D, Recorded X, TensorLike I>
void gather(const D& device, const X& x, const I& indices, const X& out) {
  auto& tape = tape_of("gather", x);
  const auto kept = tape.keep(const_view(indices));
  gather(DeviceRef(device), x.value(), kept, tape.written(out));
  tape.on_backward(
      out, [&tape, x, kept, out] { gather_backward(tape.device(), kept, tape.gradient(out), tape.accumulate(x)); });
}

}  // namespace heed::inline HEED_ISA
