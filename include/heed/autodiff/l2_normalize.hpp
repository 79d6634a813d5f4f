// SPDX-License-Identifier: Apache-2.0
// l2_normalize of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/l2_normalize.hpp"

namespace heed::inline HEED_ISA {

/// l2_normalize of a Var into another, which nothing has read yet.
template <Device D, Recorded X>
void l2_normalize(const D& device, const X& x, const L2NormalizeOptions& options, const X& out) {
  auto& tape = tape_of("l2_normalize", x);
  l2_normalize(DeviceRef(device), x.value(), options, tape.written(out));
  tape.on_backward(out, [&tape, x, options, out] {
    l2_normalize_backward(tape.device(), x.value(), options, tape.gradient(out), tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
