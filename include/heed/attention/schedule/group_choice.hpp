// SPDX-License-Identifier: Apache-2.0
// Blocks of keys that the heads of a group choose together, by the weights that they gave to the blocks.
#pragma once

#include "heed/attention/schedule/block_choice.hpp"

namespace heed::inline HEED_ISA {

/// The mask (B, T, Hk, blocks), 1 for the k blocks of largest importance, the sum over the heads of group h of weights
/// (B, H, T, W), of which the own block of query t, floor(t / size), counts as 1 for each head and those behind it as
/// nothing. Ties go to the lower block. The weights are those of the W <= blocks complete blocks, rows contiguous.
///
/// No gradient: the choice has none.
template <Device D, Real T>
Tensor<std::uint8_t, 4> choose_by_group(const D& device, const View<const T, 4>& weights, Index groups, Index size,
                                        Index blocks, Index k) {
  const Index batch = weights.size(0), tokens = weights.size(2), share = weights.size(1) / groups;
  Tensor<std::uint8_t, 4> mask(batch, tokens, groups, blocks);
  mask.setZero();
  constexpr Index kRows = 64;
  const Index bands = (tokens + kRows - 1) / kRows;
  parallel_for(device, batch * groups * bands, [&](Index unit) {
    const Index b = unit / bands / groups, group = unit / bands % groups, first = unit % bands * kRows;
    ScratchFrame frame;
    T* const sums = frame.take<T>(blocks);
    auto* const best = frame.take<std::int32_t>(std::max<Index>(k, 1));
    auto* const spare = frame.take<kernel::Ranked<T>>(kernel::kLargestSpare);
    for (Index t = first; t < std::min(tokens, first + kRows); ++t) {
      const Index own = t / size;
      std::uint8_t* const row = mask.data() + ((b * tokens + t) * groups + group) * blocks;
      if (k > own) {
        std::fill_n(row, own + 1, std::uint8_t(1));
        continue;
      }
      std::fill_n(sums, own, T(0));
      for (Index h = group * share; h < (group + 1) * share; ++h) {
        const T* const weight = weights.at(b, h, t);
        for (Index c = 0; c < own; ++c) sums[c] += weight[c];
      }
      sums[own] = T(share);
      const Index count = kernel::largest_indices<T>(sums, own + 1, k, best, spare);
      for (Index s = 0; s < count; ++s) row[best[s]] = 1;
    }
  });
  return mask;
}

}  // namespace heed::inline HEED_ISA
