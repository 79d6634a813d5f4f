// SPDX-License-Identifier: Apache-2.0
// softmax over any axis.
#pragma once

#include "heed/block/softmax.hpp"
#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// softmax<Axis>(x): softmax over an axis that need not be the last one. The result has x's shape; of a variable that
/// axis is the last one in memory. All else as softmax.
/// Gradient: of the blocks that it is made of.
template <int Axis, Device D, Operand X>
auto softmax(const D& device, const X& x) {
  constexpr int rank = kOperandRank<X>;
  static_assert(Axis >= 0 && Axis < rank, "heed::softmax: there is no such axis");
  std::array<int, std::size_t(rank)> order;
  for (int axis = 0; axis < rank; ++axis) order[std::size_t(axis)] = axis;
  std::swap(order[std::size_t(Axis)], order[std::size_t(rank) - 1]);  // its own inverse
  if constexpr (Recorded<X>) {
    return softmax(device, x.permute(order)).permute(order);
  } else {
    Tensor<ScalarOf<X>, rank> out(const_view(x).sizes);
    softmax(device, const_view(x).permute(order), view(out).permute(order));
    return out;
  }
}
template <int Axis, Operand X>
auto softmax(const X& x) {
  return softmax<Axis>(DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
