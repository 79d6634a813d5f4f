// SPDX-License-Identifier: Apache-2.0
// window_mean of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/window_mean.hpp"

namespace heed::inline HEED_ISA {

/// window_mean of a Var. The tape keeps a copy of the mask.
template <Device D, Recorded X, TensorLike M>
X window_mean(const D& device, const X& x, const M& mask, Index window) {
  auto& tape = tape_of("window_mean", x);
  const auto kept = tape.keep(const_view(mask));
  const X out = tape.template make<X::rank>(x.sizes());
  detail::window_mean(DeviceRef(device), x.value(), kept, window, tape.written(out));
  tape.on_backward(out, [&tape, x, kept, window, out] {
    window_mean_backward(tape.device(), kept, window, tape.gradient(out), tape.accumulate(x));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
