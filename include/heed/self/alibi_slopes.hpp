// SPDX-License-Identifier: Apache-2.0
// alibi_slopes: the slopes of attention with linear biases.
#pragma once

#include <bit>
#include <cmath>

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// The slopes (H) for heed::alibi: with m the largest power of two <= H, slope[h] = 2^(-8(h+1)/m) for h < m, and
/// slope[m + t] = 2^(-4(2t+1)/m) for the H - m others, which are every second slope of 2m heads. Computed in double,
/// then rounded. Throws heed::Error unless num_heads is 1 or more.
///
///   const auto slopes = alibi_slopes<float>(8);
///   auto attend = softmax_attention(alibi(slopes), causal());
///
/// Source: Press, Smith and Lewis 2022, section 3; other numbers of heads as in the authors' code and Bloom.
///
/// No gradient: the slopes depend on no tensor; given to alibi() as a parameter they have one.
template <Real T>
Tensor<T, 1> alibi_slopes(Index num_heads) {
  require(num_heads >= 1, "alibi_slopes", "num_heads must be 1 or more, got ", num_heads);
  const Index m = Index(std::bit_floor(std::size_t(num_heads)));
  Tensor<T, 1> slopes(num_heads);
  for (Index h = 0; h < m; ++h) slopes(h) = T(std::exp2(-8.0 * double(h + 1) / double(m)));
  for (Index t = 0; m + t < num_heads; ++t) slopes(m + t) = T(std::exp2(-4.0 * double(2 * t + 1) / double(m)));
  return slopes;
}

}  // namespace heed::inline HEED_ISA
