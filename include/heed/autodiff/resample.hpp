// SPDX-License-Identifier: Apache-2.0
// Average pooling and resizing of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// resample of a Var, and with it average_pool, adaptive_average_pool, resize_nearest and resize_bilinear, into
/// another, which nothing has read yet.
template <class Method, Device D, Recorded X>
void resample(const Method& method, const D& device, const X& x, const X& out) {
  auto& tape = tape_of(Method::kName, x);
  resample(method, DeviceRef(device), x.value(), tape.written(out));
  tape.on_backward(out, [&tape, method, x, out] {
    resample_backward(method, tape.device(), tape.gradient(out), tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
