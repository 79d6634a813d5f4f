// SPDX-License-Identifier: Apache-2.0
// Sums over axes of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// sum, and with it mean, of a Var.
template <Device D, Recorded X, std::size_t Count>
X sum(const D& device, const X& x, const int (&axes)[Count], double factor = 1) {
  auto& tape = tape_of("sum", x);
  const X out = tape.template make<X::rank>(detail::reduced_sizes("sum", x.sizes(), std::to_array(axes)));
  detail::sum_into(DeviceRef(device), x.value(), factor, tape.written(out));
  tape.on_backward(
      out, [&tape, x, factor, out] { sum_backward(tape.device(), tape.gradient(out), factor, tape.accumulate(x)); });
  return out;
}

}  // namespace heed::inline HEED_ISA
