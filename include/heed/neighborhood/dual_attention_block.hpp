// SPDX-License-Identifier: Apache-2.0
// dual_attention_block: window attention between pixels, then attention between groups of channels.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/neighborhood/channel_group_attention.hpp"
#include "heed/neighborhood/window_attention.hpp"

namespace heed::inline HEED_ISA {

/// The two blocks of a DaViT stage, one behind the other, each of these steps:
///
///   x <- x + cpe0(x)      x <- x + attn(norm1(x))      x <- x + cpe1(x)      x <- x + fc2(gelu(fc1(norm2(x))))
///
///   heed::DualAttentionBlock<float> block{{.h = 56, .w = 56, .num_heads = 3, .groups = 3}};
///   auto [spatial, out] = block(x);                         // or block(device, x)
///
/// x, spatial and out (B, h w, C), pixels row by row; `spatial` is the result of the first block, whose attention is
/// WindowAttention of square windows without shift and table (the zeros that fill a window are those of normalised
/// tokens); that of the second is ChannelGroupAttention. For each of the prefixes `spatial.` and `channel.`: cpe0 and
/// cpe1, depthwise convolutions, weight (C, 1, 3, 3) and bias (C); norm1 and norm2, weight and bias (C); attn.qkv and
/// attn.out; ffn.fc1, weight (F, C), and ffn.fc2 (C, F), F = floor(C mlp_ratio), with biases. Without ffn the last step
/// and its parameters are left out.
///
/// Throws heed::Error, before anything is written, for shapes and options that do not fit. Time linear in the pixels;
/// the same bits for any number of threads.
/// Source: Ding et al., DaViT, ECCV 2022; the authors' SpatialBlock and ChannelBlock, without drop path.
template <Real T>
struct DualAttentionBlock {
  struct Options {
    Index h = 0, w = 0;  ///< pixels
    Index num_heads = 1;
    Index groups = 1;
    Index window_size = 7;   ///< pixels
    double mlp_ratio = 4.0;  ///< F / C
    bool ffn = true;
  };
  /// One block; Attention is that of the pixels or of the channels.
  template <class Attention>
  struct Part {
    Conv2d<T> cpe0 = {}, cpe1 = {};
    LayerNorm<T> norm1 = {}, norm2 = {};
    Attention attn = {};
    Linear<T> fc1 = {}, fc2 = {};  ///< ffn.fc1, ffn.fc2

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "cpe0.", cpe0, "norm1.", norm1, "attn.", attn, "cpe1.", cpe1);
      visit_part("norm2.", norm2, f, heed::optional);
      visit_part("ffn.fc1.", fc1, f, heed::optional);
      visit_part("ffn.fc2.", fc2, f, heed::optional);
    }
  };
  template <class X>
  struct Result {
    X spatial, out;
  };

  Options options = {};
  Part<WindowAttention<T>> spatial = {};
  Part<ChannelGroupAttention<T>> channel = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "spatial.", spatial, "channel.", channel);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::DualAttentionBlock: x is (B, h w, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const auto of_windows = [&](const auto& tokens) {
      const typename WindowAttention<T>::Options window{.num_heads = options.num_heads,
                                                        .window_size = {options.window_size, options.window_size}};
      auto image = spatial.attn.attend_by(window, device, view(tokens).split(1, options.w));
      return contiguous(device, view(image).merge(1));
    };
    const auto of_channels = [&](const auto& tokens) {
      return channel.attn.attend_by({.groups = options.groups}, device, tokens);
    };
    auto first = run(device, x, spatial, of_windows);
    auto second = run(device, first, channel, of_channels);
    return Result<decltype(first)>{std::move(first), std::move(second)};
  }

 private:
  static constexpr std::string_view kName = "dual_attention_block";

  template <class D, Operand X, class P, class Attend>
  auto run(const D& device, const X& x, const P& part, const Attend& attend) const {
    const auto first = add(device, x, position_code(device, x, part.cpe0));
    const auto second = add(device, first, attend(part.norm1(device, first)));
    auto out = add(device, second, position_code(device, second, part.cpe1));
    if (!options.ffn) return out;
    return add(device, out, part.fc2(device, gelu(device, part.fc1(device, part.norm2(device, out)))));
  }

  // A depthwise convolution of the image, as tokens.
  template <class D, Operand X>
  auto position_code(const D& device, const X& x, const Conv2d<T>& conv) const {
    const auto image = view(x).split(1, options.w).permute({0, 3, 1, 2});
    const auto made = conv_2d(device, image, conv.weight, conv.bias, ConvOptions::same(3, sizes_of(x)[2]));
    return contiguous(device, view(made).merge(2).permute({0, 2, 1}));
  }

  template <class P>
  void check_part(std::string_view prefix, const P& part, Index channels) const {
    const std::string name(prefix);
    const auto check_vector = [&](std::string_view which, const Tensor<T, 1>& x) {
      require(x.size() == 0 || x.size() == channels, kName, name, which, " must be empty or have shape (", channels,
              "), got (", x.size(), ")");
    };
    const auto check_conv = [&](std::string_view which, const Conv2d<T>& conv) {
      const std::array<Index, 4> expected{channels, 1, 3, 3};
      require_shape(kName, name + std::string(which) + ".weight", const_view(conv.weight).sizes, expected);
      check_vector(std::string(which) + ".bias", conv.bias);
    };
    check_conv("cpe0", part.cpe0);
    check_conv("cpe1", part.cpe1);
    check_vector("norm1.weight", part.norm1.weight);
    check_vector("norm1.bias", part.norm1.bias);
    check_linear(kName, name + "attn.qkv", part.attn.qkv, channels, 3 * channels);
    check_linear(kName, name + "attn.out", part.attn.out, channels, channels);
    if (!options.ffn) return;
    const Index hidden = Index(double(channels) * options.mlp_ratio);
    check_vector("norm2.weight", part.norm2.weight);
    check_vector("norm2.bias", part.norm2.bias);
    check_linear(kName, name + "ffn.fc1", part.fc1, channels, hidden);
    check_linear(kName, name + "ffn.fc2", part.fc2, hidden, channels);
  }

  void check(const std::array<Index, 3>& x) const {
    const Options& o = options;
    require(o.h > 0 && o.w > 0 && x[1] == o.h * o.w, kName, "x must have h * w = ", o.h, " * ", o.w,
            " tokens, got shape ", shape_text(x));
    require(o.num_heads > 0 && o.groups > 0 && x[2] > 0 && x[2] % o.num_heads == 0 && x[2] % o.groups == 0, kName,
            "the channels of x, ", x[2], ", must be a multiple of num_heads, ", o.num_heads, ", and of groups, ",
            o.groups);
    require(o.window_size > 0 && o.mlp_ratio > 0, kName, "window_size and mlp_ratio must be positive, got ",
            o.window_size, " and ", o.mlp_ratio);
    check_part("spatial.", spatial, x[2]);
    check_part("channel.", channel, x[2]);
  }
};

}  // namespace heed::inline HEED_ISA
