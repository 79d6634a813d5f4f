// SPDX-License-Identifier: Apache-2.0
// visual_token_pooling: the tokens of a grid as those of a smaller one.
#pragma once

#include "heed/block/resample.hpp"
#include "heed/block/tokens.hpp"

namespace heed::inline HEED_ISA {

/// How cells of the smaller grid come from the larger.
enum class TokenPooling {
  kAverage,   ///< output o of m is the mean of the inputs floor(o n / m) .. ceil((o + 1) n / m) - 1 of n, on each axis
  kBilinear,  ///< input coordinate max((o + 0.5) n / m - 0.5, 0), between the two nearest; no smoothing
};

/// x (B, h w, C), the rows of a grid (h, w) one after the other, resampled to out (B, oh ow, C).
///
///   heed::VisualTokenPooling pool{{.grid = {27, 27}, .out_grid = {3, 3}}};
///   auto y = pool(x);                                       // or pool(device, x)
///
/// The grid may also grow; an average then repeats cells. Throws heed::Error for another number of tokens and grids
/// without cells. The same bits for any number of threads.
/// Source: Yan et al. 2025 (CrossLMM), section 3.1; transcription, where the average is our reading of its local
/// aggregation.
struct VisualTokenPooling {
  struct Options {
    std::array<Index, 2> grid{0, 0};
    std::array<Index, 2> out_grid{0, 0};
    TokenPooling mode = TokenPooling::kAverage;
  };

  Options options = {};

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::VisualTokenPooling: x is (B, h w, C)");
    const auto [grid, target, mode] = options;
    require(grid[0] > 0 && grid[1] > 0 && target[0] > 0 && target[1] > 0, "visual_token_pooling",
            "both grids must have cells, got ", shape_text(grid), " and ", shape_text(target));
    const auto map = map_of_tokens("visual_token_pooling", x, grid[0], grid[1]);
    const auto pooled = mode == TokenPooling::kAverage ? adaptive_average_pool(device, map, target)
                                                       : resize_bilinear(device, map, target);
    return tokens_of_map(device, pooled);
  }
};

}  // namespace heed::inline HEED_ISA
