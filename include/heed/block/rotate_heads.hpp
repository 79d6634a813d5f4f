// SPDX-License-Identifier: Apache-2.0
// rotate_heads: rotary positions of channels that are cut into heads.
#pragma once

#include "heed/block/heads.hpp"
#include "heed/block/rotary.hpp"

namespace heed::inline HEED_ISA {

/// rotate() of every head of tokens (B, N, H D) by positions (B, N) or (1, N), as tokens of that shape. Throws
/// heed::Error naming `where`.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto rotate_heads(const D& device, const X& tokens, Index heads, const View<const std::int32_t, 2>& positions,
                  const RotaryOptions& options, std::string_view where = "rotate_heads") {
  auto out = make_output<OperandScalar<X>, 3>(where, sizes_of(tokens), tokens);
  rotate(device, split_heads(tokens, heads), positions, options, split_heads(view(out), heads), where);
  return out;
}

}  // namespace heed::inline HEED_ISA
