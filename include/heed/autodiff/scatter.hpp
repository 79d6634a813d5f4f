// SPDX-License-Identifier: Apache-2.0
// scatter_add of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/scatter.hpp"

namespace heed::inline HEED_ISA {

/// scatter_add of a Var. The tape keeps a copy of the indices.
template <Device D, Recorded X, TensorLike I>
X scatter_add(const D& device, const X& x, const I& indices, Index rows) {
  auto& tape = tape_of("scatter_add", x);
  const auto kept = tape.keep(const_view(indices));
  auto sizes = x.sizes();
  sizes[std::size_t(X::rank) - 2] = rows;
  const X out = tape.template make<X::rank>(sizes);
  const auto made = tape.written(out);
  std::fill_n(made.data, made.count(), typename X::Scalar(0));
  require_shape("scatter_add", "x", x.sizes(), detail::gather_sizes<X::rank>(sizes, kept));
  gather_backward(DeviceRef(device), kept, x.value(), made);
  tape.on_backward(out, [&tape, x, kept, out] {
    scatter_add_backward(tape.device(), kept, tape.gradient(out), tape.accumulate(x));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
