// SPDX-License-Identifier: Apache-2.0
// Channels as heads.
#pragma once

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// (B, N, H D) as (B, H, N, D): head h is in channels h D .. h D + D - 1. A view, of x or of a variable; x must outlive
/// it. Throws heed::Error where the channels are no multiple of the heads.
/// Gradient: of the blocks that it is made of: that of a view, at the same place.
template <Operand X>
auto split_heads(const X& x, Index heads) {
  static_assert(kOperandRank<X> == 3, "heed::split_heads: x is (B, N, H D)");
  const Index channels = sizes_of(x)[2];
  require(heads > 0 && channels > 0 && channels % heads == 0, "split_heads", "the channels of a tensor of shape ",
          shape_text(sizes_of(x)), " must be a multiple of the heads, ", heads);
  return view(x).split(2, channels / heads).permute({0, 2, 1, 3});
}

/// A map (B, H D, h, w) as (B, H, N, D) with N = h w, positions row by row: as split_heads of its tokens. The rows of
/// the map must follow each other in memory.
/// Gradient: of the blocks that it is made of: that of a view, at the same place.
template <Operand X>
auto split_map_heads(const X& x, Index heads) {
  static_assert(kOperandRank<X> == 4, "heed::split_map_heads: x is (B, H D, h, w)");
  return split_heads(view(x).merge(2).permute({0, 2, 1}), heads);
}

}  // namespace heed::inline HEED_ISA
