// SPDX-License-Identifier: Apache-2.0
// Channels as heads, and back.
#pragma once

#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// (B, N, H D) as (B, H, N, D): head h is in channels h D .. h D + D - 1. A view, of x or of a variable; x must outlive
/// it. Throws heed::Error where the channels are no multiple of the heads.
template <Operand X>
auto split_heads(const X& x, Index heads) {
  static_assert(kOperandRank<X> == 3, "heed::split_heads: x is (B, N, H D)");
  const Index channels = sizes_of(x)[2];
  require(heads > 0 && channels > 0 && channels % heads == 0, "split_heads", "the channels of a tensor of shape ",
          shape_text(sizes_of(x)), " must be a multiple of the heads, ", heads);
  return view(x).split(2, channels / heads).permute({0, 2, 1, 3});
}

/// (B, H, N, D) as (B, N, H D), copied.
///
/// Gradient: of x, copied back.
template <Device D, Operand X>
auto merge_heads(const D& device, const X& x) {
  static_assert(kOperandRank<X> == 4, "heed::merge_heads: x is (B, H, N, D)");
  if constexpr (Recorded<X>) {
    return contiguous(device, x.permute({0, 2, 1, 3})).merge(2);
  } else {
    const auto from = const_view(x);
    Tensor<ScalarOf<X>, 3> out(from.size(0), from.size(2), from.size(1) * from.size(3));
    if (out.size() > 0)
      kernel::copy<kernel::Write::kAssign>(device, from, view(out).split(2, from.size(3)).permute({0, 2, 1, 3}));
    return out;
  }
}

}  // namespace heed::inline HEED_ISA
