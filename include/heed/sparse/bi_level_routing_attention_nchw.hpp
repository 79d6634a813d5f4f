// SPDX-License-Identifier: Apache-2.0
// bi_level_routing_attention_nchw: the authors' second form of it, for maps of any size.
#pragma once

#include <cmath>

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/blocks.hpp"
#include "heed/block/chosen_mask.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/region.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// Each region of a map attends to the tokens of its top_k regions; those at the border may be partial.
///
///   heed::BiLevelRoutingAttentionNchw<float> attend{{.num_heads = 8, .n_win = 7, .top_k = 4}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, C, h, w), out as x; qkv.weight (3 C, C), qkv.bias (3 C) or empty, out.weight (C, C), out.bias (C) or empty,
/// lepe.weight (C, 1, s, s) with s odd, lepe.bias (C) or empty. Regions of floor(h / n_win) x floor(w / n_win), ceil(h
/// / that) x ceil(w / that) of them. They are compared by the product of their mean q and mean k, over the positions
/// that exist. Beyond the map, keys and values are 0 and take part. out = (attention, with the factor `scale`, +
/// lepe(v)) out.weight^T + out.bias.
///
/// top_k is clamped to the regions; ties go to the lower region; the choice has no gradient. Throws heed::Error for a
/// map smaller than n_win and shapes and options that do not fit. Cost and threads as BiLevelRoutingAttention.
/// Source: Zhu et al., CVPR 2023, BiFormer; the authors' bra_nchw.
template <Real T>
struct BiLevelRoutingAttentionNchw {
  struct Options {
    Index num_heads = 8;
    Index n_win = 7;   ///< regions along an axis, about
    double scale = 0;  ///< 0: C^-0.5
    Index top_k = 4;   ///< 1 or more
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};
  Conv2d<T> lepe = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkv.", qkv, "out.", out, "lepe.", lepe);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::BiLevelRoutingAttentionNchw: x is (B, C, h, w)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index channels = sizes[1], h = sizes[2], w = sizes[3], rh = h / options.n_win, rw = w / options.n_win;
    const Index down = (h + rh - 1) / rh, across = (w + rw - 1) / rw, regions = down * across;
    const auto map = qkv(device, view(x).permute({0, 2, 3, 1}));  // (B, h, w, 3 C)
    const auto padded = pad_map(device, map, down * rh, across * rw);
    const auto packed = to_regions(device, padded, rh, rw);
    const auto part = [&](const auto& all, Index i) { return all.slice(3, i * channels, channels); };

    const auto means = region_means(device, values_of(packed), h, w, rh, rw, across);
    const auto scores = matmul(device, part(const_view(means), 0).select(2, 0),
                               part(const_view(means), 1).select(2, 0).permute({0, 2, 1}));
    const auto best = top_k(device, scores, std::min(options.top_k, regions));
    const auto mask = packed_with(chosen_mask<std::uint8_t>(best.indices, regions), x);
    const double factor = options.scale != 0 ? options.scale : 1 / std::sqrt(double(channels));
    const auto attention =
        softmax_attention(block_mask(const_view(mask).split(0, 1), rh * rw, rh * rw), {.scale = factor});
    const auto heads = [&](Index i) { return split_heads(part(view(packed), i).merge(1), options.num_heads); };
    const auto mixed = attend_heads(device, attention, heads(0), heads(1), heads(2));
    const auto grid = from_regions(device, view(mixed).split(1, rh * rw), across, rw);

    const auto local = conv_2d(device, part(view(map), 2).permute({0, 3, 1, 2}), lepe.weight, lepe.bias,
                               ConvOptions::same(lepe.weight.dimension(2), channels));
    const auto both = add(device, view(grid).slice(1, 0, h).slice(2, 0, w), view(local).permute({0, 2, 3, 1}));
    const auto result = out(device, both);
    return contiguous(device, view(result).permute({0, 3, 1, 2}));
  }

 private:
  static constexpr std::string_view kName = "bi_level_routing_attention_nchw";

  // The sums of regions by the number of their positions that are in the map.
  template <class D>
  static Tensor<T, 4> region_means(const D& device, const View<const T, 4>& packed, Index h, Index w, Index rh,
                                   Index rw, Index across) {
    Tensor<T, 4> by_count(1, packed.size(1), 1, 1);
    for (Index r = 0; r < packed.size(1); ++r)
      by_count(0, r, 0, 0) = T(1) / T(std::min(rh, h - r / across * rh) * std::min(rw, w - r % across * rw));
    return multiply(device, sum(device, packed, {2}), by_count);
  }

  void check(const std::array<Index, 4>& x) const {
    const Index channels = x[1], n = options.n_win, kernel = lepe.weight.dimension(2);
    require(n > 0 && options.top_k > 0, kName, "n_win and top_k must be 1 or more, got ", n, " and ", options.top_k);
    require(x[2] >= n && x[3] >= n, kName, "a map of shape ", shape_text(x), " is smaller than n_win = ", n);
    require(options.num_heads > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    check_linear(kName, "qkv", qkv, channels, 3 * channels);
    check_linear(kName, "out", out, channels, channels);
    require_shape(kName, "lepe.weight", const_view(lepe.weight).sizes,
                  std::array<Index, 4>{channels, 1, kernel, kernel});
    require(kernel % 2 == 1, kName, "the kernel of lepe must be odd, got ", kernel);
  }
};

}  // namespace heed::inline HEED_ISA
