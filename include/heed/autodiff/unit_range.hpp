// SPDX-License-Identifier: Apache-2.0
// unit_range of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/unit_range.hpp"

namespace heed::inline HEED_ISA {

/// unit_range of a Var.
template <Recorded X>
X unit_range(const X& x) {
  auto& tape = tape_of("unit_range", x);
  const X out = tape.template make<X::rank>(x.sizes());
  unit_range(x.value(), tape.written(out));
  tape.on_backward(out, [&tape, x, out] { unit_range_backward(x.value(), tape.gradient(out), tape.accumulate(x)); });
  return out;
}

}  // namespace heed::inline HEED_ISA
