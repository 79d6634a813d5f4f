// SPDX-License-Identifier: Apache-2.0
// max_pool of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/max_pool.hpp"

namespace heed::inline HEED_ISA {

/// max_pool and adaptive_max_pool of a Var.
template <class Method, Device D, Recorded X>
X max_resample(const Method& method, const D& device, const X& x) {
  static_assert(X::rank == 4, "heed: a map is (B, C, h, w)");
  auto& tape = tape_of(Method::kName, x);
  const X out = tape.template make<4>(detail::resample_sizes(method, x.sizes()));
  max_resample(method, DeviceRef(device), x.value(), tape.written(out));
  tape.on_backward(out, [&tape, method, x, out] {
    max_pool_backward(method, tape.device(), x.value(), out.value(), tape.gradient(out), tape.accumulate(x));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
