// SPDX-License-Identifier: Apache-2.0
// decayed_score_sums: how much the weights of a retention amount to, row by row.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/scan/linear_scan_chunk.hpp"

namespace heed::inline HEED_ISA {

/// sums_i = sum over j <= i of e^(g (i - j)) |q_i . k_j|, g = log_decay for each head: q and k (B, H, N, D), log_decay
/// (1, H, 1, 1), 0 or less, result (B, H, N, 1). Any strides, all float or all double. Throws heed::Error for shapes
/// that do not fit. Time O(N^2 D), by tiles of 64 x 64; the same bits for any number of threads.
///
/// No gradient: layers that divide by it take it as a constant.
template <Device D, TensorLike Q, TensorLike K, TensorLike G>
auto decayed_score_sums(const D& device, const Q& q_like, const K& k_like, const G& log_decay) {
  using T = ScalarOf<Q>;
  constexpr Index tile = 64;
  const auto q = const_view(q_like), k = const_view(k_like);
  const auto g = const_view(log_decay);
  const Index heads = q.size(1), tokens = q.size(2), width = q.size(3), tiles = (tokens + tile - 1) / tile;
  require_shape("decayed_score_sums", "k", k.sizes, q.sizes);
  require_shape("decayed_score_sums", "log_decay", g.sizes, std::array<Index, 4>{1, heads, 1, 1});
  Tensor<T, 4> sums(q.size(0), heads, tokens, 1);
  parallel_for(device, q.size(0) * heads * tiles, [&](Index unit) {
    const Index b = unit / tiles / heads, h = unit / tiles % heads, row = unit % tiles * tile;
    const Index rows = std::min(tile, tokens - row);
    const double decay = double(g(0, h, 0, 0));
    ScratchFrame frame;
    const auto queries = detail::make_tile<T>(frame, tile, width), keys = detail::make_tile<T>(frame, width, tile),
               scores = detail::make_tile<T>(frame, tile, tile);
    const auto left = frame.template take<T>(2 * tile);  // e^(g d) for distances d
    for (Index d = 0; d < 2 * tile; ++d) left[d] = T(std::exp(decay * double(d)));
    kernel::copy_rows<T>(q.at(b, h, row), q.stride(2), q.stride(3), rows, width, queries.data, queries.stride);
    T total[tile] = {};
    for (Index column = 0; column <= row; column += tile) {
      const Index count = std::min(tile, tokens - column);
      kernel::copy_rows<T>(k.at(b, h, column), k.stride(3), k.stride(2), width, count, keys.data, keys.stride);
      kernel::tile_product(kernel::Scalars<T>(queries), rows, width, keys, count, scores);
      // Distances of i + tile - j or less are in the table; the tiles between are a factor.
      const T between = T(std::exp(decay * double(std::max<Index>(0, row - column - tile))));
      for (Index i = 0; i < rows; ++i) {
        const bool diagonal = column == row;
        const T* const to_row = left + i + (diagonal ? 0 : tile);
        T sum = 0;
        for (Index j = 0; j < (diagonal ? i + 1 : count); ++j) sum += std::abs(scores.row(i)[j]) * to_row[-j];
        total[i] += between * sum;
      }
    }
    for (Index i = 0; i < rows; ++i) sums(b, h, row + i, 0) = total[i];
  });
  return sums;
}

}  // namespace heed::inline HEED_ISA
