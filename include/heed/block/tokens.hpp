// SPDX-License-Identifier: Apache-2.0
// Tokens of a grid as a map, and back.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_2d.hpp"

namespace heed::inline HEED_ISA {

/// Tokens (B, h w, C) in row-major order as a map (B, C, h, w): a view, of x or of a variable; x must outlive it.
/// Throws heed::Error where h or w is no size or there are not h * w tokens.
/// Gradient: of the blocks that it is made of: that of a view, at the same place.
template <Operand X>
auto map_of_tokens(std::string_view where, const X& x, Index h, Index w) {
  static_assert(kOperandRank<X> == 3, "heed::map_of_tokens: x is (B, h w, C)");
  require(h > 0 && w > 0 && sizes_of(x)[1] == h * w, where, "x must have h w = ", h, " * ", w, " tokens, got shape ",
          shape_text(sizes_of(x)));
  return view(x).split(1, w).permute({0, 3, 1, 2});
}

/// A map (B, C, h, w) as tokens (B, h w, C), copied.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto tokens_of_map(const D& device, const X& x) {
  static_assert(kOperandRank<X> == 4, "heed::tokens_of_map: x is (B, C, h, w)");
  const auto sizes = sizes_of(x);
  auto out = make_output<OperandScalar<X>, 3>("tokens_of_map", {sizes[0], sizes[2] * sizes[3], sizes[1]}, x);
  if (sizes[3] > 0) concat_into<0>(device, view(out).split(1, sizes[3]).permute({0, 3, 1, 2}), x);
  return out;
}

/// conv_2d with one filter per channel of tokens as a map (B, C, h, w), as from map_of_tokens; the result stays in the
/// order of tokens, (B, h', w', C), in which such a convolution runs channel by channel in the lanes.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X, Operand W, Operand B>
auto depthwise_tokens(const D& device, const X& map, const W& weight, const B& bias, const ConvOptions& options) {
  const auto sizes = detail::conv_2d_sizes(sizes_of(map), sizes_of(weight), sizes_of(bias)[0], options);
  auto out = make_output<OperandScalar<X>, 4>("depthwise_tokens", {sizes[0], sizes[2], sizes[3], sizes[1]}, map);
  conv_2d(device, map, weight, bias, options, view(out).permute({0, 3, 1, 2}));
  return out;
}

}  // namespace heed::inline HEED_ISA
