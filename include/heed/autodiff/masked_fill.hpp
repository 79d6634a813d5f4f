// SPDX-License-Identifier: Apache-2.0
// masked_fill of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/masked_fill.hpp"

namespace heed::inline HEED_ISA {

/// masked_fill of a Var. The tape keeps a copy of the mask.
template <Device D, Recorded X, TensorLike M>
X masked_fill(const D& device, const X& x, const M& mask, double value) {
  auto& tape = tape_of("masked_fill", x);
  const auto kept = tape.keep(const_view(mask));
  const X out = tape.template make<X::rank>(x.sizes());
  masked_fill(DeviceRef(device), x.value(), kept, value, tape.written(out));
  tape.on_backward(out, [&tape, x, kept, out] {
    masked_fill_backward(tape.device(), kept, tape.gradient(out), tape.accumulate(x));
  });
  return out;
}
template <Recorded X, TensorLike M>
X masked_fill(const X& x, const M& mask, double value) {
  return masked_fill(DeviceRef(), x, mask, value);
}

}  // namespace heed::inline HEED_ISA
