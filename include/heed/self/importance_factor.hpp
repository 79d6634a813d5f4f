// SPDX-License-Identifier: Apache-2.0
// importance_factor: attention weights as a map from 0 to 1.
#pragma once

#include "heed/block/reduce.hpp"
#include "heed/block/unit_range.hpp"

namespace heed::inline HEED_ISA {

/// (w - min w) / (max w - min w) over the whole tensor, where w = x, or, with kAverage, the mean of x over its first
/// axis: of the weights of GaussianAdaptiveAttention, how much each feature counts.
///
///   auto importance = heed::importance_factor<true>(gate(x).weights);     // (B, C) to (C)
///
/// x (B, ...) of any strides; the result has x's shape, without the first axis where it is averaged. 0 where all w are
/// equal. Time O(size).
/// Source: Ioannides et al. 2024; transcription of the definition.
template <bool kAverage = false, Device D, Operand X>
auto importance_factor(const D& device, const X& x) {
  if constexpr (kAverage) {
    static_assert(kOperandRank<X> >= 2, "heed::importance_factor: there is no axis left behind the one averaged over");
    const auto average = mean(device, x, {0});
    return unit_range(view(average).select(0, 0));
  } else {
    return unit_range(view(x));
  }
}
template <bool kAverage = false, Operand X>
auto importance_factor(const X& x) {
  return importance_factor<kAverage>(DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
