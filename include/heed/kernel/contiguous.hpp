// SPDX-License-Identifier: Apache-2.0
// Tensors as plain row-major memory of the type that kernels compute in.
#pragma once

#include "heed/core/scratch.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// The elements of a view in row-major order: where they are if they lie so, else a copy for the lifetime of the frame.
template <Real T, class U, int Rank>
const T* contiguous_values(ScratchFrame& frame, const View<const U, Rank>& x) {
  if constexpr (std::same_as<T, U>)
    if (x.is_contiguous()) return x.data;
  T* const values = frame.take<T>(x.count());
  copy<Write::kAssign>(Eigen::DefaultDevice(), x, View<T, Rank>(values, x.sizes));
  return values;
}

/// The same for a tensor that may be absent: null for no elements.
template <Real T, class U, int Rank>
const T* optional_values(ScratchFrame& frame, const View<const U, Rank>& x) {
  return x.count() == 0 ? nullptr : contiguous_values<T>(frame, x);
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
