// SPDX-License-Identifier: Apache-2.0
// Which blocks of keys a query reads, chosen by their scores.
#pragma once

#include <vector>

#include "heed/core/device.hpp"
#include "heed/core/scratch.hpp"
#include "heed/core/tensor.hpp"
#include "heed/kernel/largest.hpp"

namespace heed::inline HEED_ISA {

/// A mask (B, H, N, blocks) of nothing chosen.
inline Tensor<std::uint8_t, 4> no_blocks(Index batch, Index heads, Index queries, Index blocks) {
  Tensor<std::uint8_t, 4> mask(batch, heads, queries, blocks);
  mask.setZero();
  return mask;
}

/// Sets, for query i, the k blocks of largest score among 0 .. own(i) - 1, all if they are fewer, and own(i) itself:
/// scores and mask (B, H, N, blocks), scores of contiguous rows. Ties go to the lower block. Time O(own log own) a
/// query, and no sort.
///
/// No gradient: the choice has none.
template <Device D, Real T, class Own>
void choose_earlier_blocks(const D& device, const View<const T, 4>& scores, Index k, const Own& own,
                           const View<std::uint8_t, 4>& mask) {
  const Index queries = scores.size(2), heads = scores.size(1);
  constexpr Index kRows = 64;
  const Index bands = (queries + kRows - 1) / kRows;
  parallel_for(device, scores.size(0) * heads * bands, [&](Index unit) {
    const Index b = unit / bands / heads, h = unit / bands % heads, first = unit % bands * kRows;
    ScratchFrame frame;
    auto* const best = frame.take<std::int32_t>(std::max<Index>(k, 1));
    auto* const spare = frame.take<kernel::Ranked<T>>(kernel::kLargestSpare);
    for (Index i = first; i < std::min(queries, first + kRows); ++i) {
      const Index last = own(i);
      mask(b, h, i, last) = 1;
      if (k >= last) {
        for (Index c = 0; c < last; ++c) mask(b, h, i, c) = 1;
        continue;
      }
      const Index count = kernel::largest_indices<T>(scores.at(b, h, i), last, k, best, spare);
      for (Index s = 0; s < count; ++s) mask(b, h, i, best[s]) = 1;
    }
  });
}

}  // namespace heed::inline HEED_ISA
