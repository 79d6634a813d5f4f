// SPDX-License-Identifier: Apache-2.0
// masked_fill of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/masked_fill.hpp"

namespace heed::inline HEED_ISA {

/// masked_fill of a Var into another, which nothing has read yet. The tape keeps a copy of the mask.
template <Device D, Recorded X, TensorLike M>
void masked_fill(const D& device, const X& x, const M& mask, double value, const X& out) {
  auto& tape = tape_of("masked_fill", x);
  const auto kept = tape.keep(const_view(mask));
  masked_fill(DeviceRef(device), x.value(), kept, value, tape.written(out));
  tape.on_backward(out, [&tape, x, kept, out] {
    masked_fill_backward(tape.device(), kept, tape.gradient(out), tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
