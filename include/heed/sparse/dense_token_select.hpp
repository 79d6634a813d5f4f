// SPDX-License-Identifier: Apache-2.0
// dense_token_select: the fine tokens of the coarse ones that a row looks at.
#pragma once

#include "heed/block/reduce.hpp"
#include "heed/block/selection.hpp"

namespace heed::inline HEED_ISA {

/// Coarse scene token j is selected for a row if 255 (a_j - min a) / (max a - min a) > threshold, a the row's attention
/// to the scene tokens, summed over heads; with it its fine tokens j E .. j E + E - 1.
///
/// x (B, H, N, M), attention weights; select_mask (B, N, V E) of std::uint8_t, 1 = selected. The V coarse tokens are
/// the keys from scene_start on. Rows before query_start select nothing, nor do rows that give all the same. No
/// gradient. Throws heed::Error for shapes and options that do not fit. Source: Zhi et al. 2025 (LSceneLLM).
struct DenseTokenSelect {
  struct Options {
    Index query_start = 0;
    Index scene_start = 0;
    Index num_scene = 0;        ///< V
    Index dense_per_scene = 4;  ///< E, 1 or more
    double threshold = 96;      ///< 0 to 255
  };

  Options options = {};

  template <TensorLike X>
  Tensor<std::uint8_t, 3> operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, TensorLike X>
  Tensor<std::uint8_t, 3> operator()(const D& device, const X& x) const {
    static_assert(kRankOf<X> == 4, "heed::DenseTokenSelect: x is (B, H, N, M)");
    constexpr std::string_view name = "dense_token_select";
    const auto weights = const_view(x);
    const Index coarse = options.num_scene, fine = options.dense_per_scene, rows = weights.size(2);
    require(fine > 0, name, "dense_per_scene must be 1 or more, got ", fine);
    require(options.scene_start >= 0 && coarse >= 0 && options.scene_start + coarse <= weights.size(3), name, coarse,
            " scene tokens from ", options.scene_start, " on are not among the ", weights.size(3), " keys");
    const auto seen = sum(device, weights.slice(3, options.scene_start, coarse), {1});
    const auto selected = above_in_range(const_view(seen).select(1, 0), options.threshold / 255);
    Tensor<std::uint8_t, 3> mask(weights.size(0), rows, coarse * fine);
    for (Index b = 0; b < weights.size(0); ++b)
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < coarse * fine; ++j) mask(b, i, j) = i >= options.query_start && selected(b, i, j / fine);
    return mask;
  }
};

}  // namespace heed::inline HEED_ISA
