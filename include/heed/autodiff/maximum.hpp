// SPDX-License-Identifier: Apache-2.0
// The largest element over axes of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/maximum.hpp"

namespace heed::inline HEED_ISA {

/// max of a Var.
template <Device D, Recorded X, std::size_t Count>
X max(const D& device, const X& x, const int (&axes)[Count]) {
  auto& tape = tape_of("max", x);
  const X out = tape.template make<X::rank>(detail::maximum_sizes(x.sizes(), std::to_array(axes)));
  kernel::maximum<typename X::Scalar>(DeviceRef(device), x.value(),
                                      tape.written(out).broadcast(x.sizes(), "max", "out"));
  tape.on_backward(out, [&tape, x, out] {
    max_backward(tape.device(), x.value(), out.value(), tape.gradient(out), tape.accumulate(x));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
