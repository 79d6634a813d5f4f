// SPDX-License-Identifier: Apache-2.0
// max_pool of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/max_pool.hpp"

namespace heed::inline HEED_ISA {

/// max_pool and adaptive_max_pool of a Var into another, which nothing has read yet.
template <class Method, Device D, Recorded X>
void max_resample(const Method& method, const D& device, const X& x, const X& out) {
  auto& tape = tape_of(Method::kName, x);
  max_resample(method, DeviceRef(device), x.value(), tape.written(out));
  tape.on_backward(out, [&tape, method, x, out] {
    max_pool_backward(method, tape.device(), x.value(), out.value(), tape.gradient(out), tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
