// SPDX-License-Identifier: Apache-2.0
// Average pooling and resizing of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// resample of a Var, and with it average_pool, adaptive_average_pool, resize_nearest and resize_bilinear.
template <class Method, Device D, Recorded X>
X resample(const Method& method, const D& device, const X& x) {
  static_assert(X::rank == 4, "heed: a map is (B, C, h, w)");
  auto& tape = tape_of(Method::kName, x);
  const X out = tape.template make<4>(detail::resample_sizes(method, x.sizes()));
  resample(method, DeviceRef(device), x.value(), tape.written(out));
  tape.on_backward(out, [&tape, method, x, out] {
    resample_backward(method, tape.device(), tape.gradient(out), tape.accumulate(x));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
