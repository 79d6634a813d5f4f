// SPDX-License-Identifier: Apache-2.0
// Positions one after the other.
#pragma once

#include <cstdint>
#include <numeric>

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// first, first + 1, .. of `count` tokens, (1, count): those of all items of a batch.
///
/// No gradient: positions are not learned.
inline Tensor<std::int32_t, 2> position_range(Index first, Index count) {
  Tensor<std::int32_t, 2> positions(1, count);
  std::iota(positions.data(), positions.data() + count, std::int32_t(first));
  return positions;
}

}  // namespace heed::inline HEED_ISA
