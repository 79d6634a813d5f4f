// SPDX-License-Identifier: Apache-2.0
// paint_token_select: local and summary tokens of an image, from its encoder's maps.
#pragma once

#include "heed/block/reduce.hpp"
#include "heed/block/selection.hpp"

namespace heed::inline HEED_ISA {

/// Two sets of visual tokens. With a and b the attention of the class token to the patches in the first and the late
/// map, summed over heads: summary is the tokens of largest b, as many as lie above Q3 + 1.5 (Q3 - Q1) of b; local the
/// floor(M local_ratio) of largest a and the floor(M spatial_ratio) that get most from all rows of the first map,
/// without those of the summary.
///
/// first_attn, late_attn (1, Hv, M', M'), the maps of the encoder's first and last-but-one layer, class token at 0,
/// patches in the last num_tokens columns; local_mask and summary_mask (M) of std::uint8_t. No gradient. Throws
/// heed::Error for shapes and options that do not fit. Source: Arif et al. 2025 (PAINT), hasanar1f/PAINT, whose spatial
/// score, always 1 because it sums rows, is that of columns here.
struct PaintTokenSelect {
  struct Options {
    Index num_tokens = 576;     ///< M
    double local_ratio = 0.25;  ///< 0 to 1
    double spatial_ratio = 0;   ///< 0 to 1; the paper's best is 0.05
  };
  struct Result {
    Tensor<std::uint8_t, 1> local_mask, summary_mask;
  };

  Options options = {};

  template <TensorLike X, TensorLike Y>
  Result operator()(const X& first_attn, const Y& late_attn) const {
    return (*this)(DeviceRef(), first_attn, late_attn);
  }
  template <Device D, TensorLike X, TensorLike Y>
  Result operator()(const D& device, const X& first_attn, const Y& late_attn) const {
    static_assert(kRankOf<X> == 4 && kRankOf<Y> == 4, "heed::PaintTokenSelect: the maps are (1, Hv, M', M')");
    constexpr std::string_view name = "paint_token_select";
    const Index count = options.num_tokens;
    const auto in_range = [](double ratio) { return ratio >= 0 && ratio <= 1; };
    require(in_range(options.local_ratio) && in_range(options.spatial_ratio), name,
            "local_ratio and spatial_ratio must be from 0 to 1");
    const auto patches = [&](const auto& map) {
      require(map.size(0) == 1 && map.size(2) > 0 && count >= 0 && count <= map.size(3), name,
              "a map must have shape (1, Hv, M', M') with M' >= ", count, ", got ", shape_text(map.sizes));
      return map.select(0, 0).slice(2, map.size(3) - count, count);  // (Hv, M', M)
    };
    const auto first = patches(const_view(first_attn)), late = patches(const_view(late_attn));
    const auto local_score = sum(device, first.slice(1, 0, 1), {0, 1});  // (1, 1, M)
    const auto late_score = sum(device, late.slice(1, 0, 1), {0, 1});
    const auto received = sum(device, first, {0, 1}, 1 / double(std::max<Index>(1, first.size(0))));
    const auto row = [](const auto& x) { return const_view(x).select(0, 0).select(0, 0); };

    Result result;
    result.summary_mask = largest_mask(device, row(late_score), count_outliers(row(late_score)));
    result.local_mask = largest_mask(device, row(local_score), Index(double(count) * options.local_ratio));
    const auto spatial = largest_mask(device, row(received), Index(double(count) * options.spatial_ratio));
    for (Index i = 0; i < count; ++i)
      result.local_mask(i) = (result.local_mask(i) != 0 || spatial(i) != 0) && result.summary_mask(i) == 0;
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
