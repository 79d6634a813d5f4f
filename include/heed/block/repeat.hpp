// SPDX-License-Identifier: Apache-2.0
// repeat_for: learned tokens for every item of a batch.
#pragma once

#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// tokens (L, C), which are the same for all items of a batch, as (B, L, C) with the B of x (B, .., ..); a variable
/// where tokens or x is one. Gradient: of the blocks that it is made of; that of the tokens is summed over the batch.
template <Device D, Operand P, Operand X>
auto repeat_for(const D& device, const P& tokens, const X& x) {
  static_assert(kOperandRank<P> == 2, "heed::repeat_for: tokens are (L, C)");
  const auto sizes = sizes_of(tokens);
  auto out = make_output<OperandScalar<P>, 3>("repeat_for", {sizes_of(x)[0], sizes[0], sizes[1]}, tokens, x);
  concat_into<1>(device, view(out), view(tokens).template promote<3>());
  return out;
}

}  // namespace heed::inline HEED_ISA
