// SPDX-License-Identifier: Apache-2.0
// block_mean: the means of consecutive tokens.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// Row c of the result is the mean of the tokens c size .. c size + size - 1 of x (B, H, M, D): (B, H, ceil(M / size),
/// D), of a shorter last block by its own length. Throws heed::Error for a size below 1. Time O(x).
///
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto block_mean(const D& device, const X& x, Index size) {
  static_assert(kOperandRank<X> == 4, "heed::block_mean: x is (B, H, M, D)");
  require(size > 0, "block_mean", "the size of a block must be 1 or more, got ", size);
  const Index tokens = sizes_of(x)[2], whole = tokens / size, rest = tokens - whole * size;
  const auto over = [&](Index start, Index count, Index block) {
    return sum(device, view(x).slice(2, start, count).split(2, block), {3}, 1 / double(block));
  };
  const auto blocks = over(0, whole * size, size);
  if (rest == 0) return contiguous(device, view(blocks).select(3, 0));
  const auto last = over(whole * size, rest, rest);
  return concat<2>(device, view(blocks).select(3, 0), view(last).select(3, 0));
}

}  // namespace heed::inline HEED_ISA
