// SPDX-License-Identifier: Apache-2.0
// l2vit_block: linear global attention between convolutions, and a feed-forward network.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"
#include "heed/linear/l2vit_linear_attention.hpp"
#include "heed/linear/local_concentration_module.hpp"

namespace heed::inline HEED_ISA {

/// x <- x + cpe(x); x <- x + attn(norm1(x)); if `enhanced`, x <- x + lcm(norm3(x)); out = x + ffn(norm2(x)):
/// cpe a depthwise 3x3 convolution of the tokens as a map, attn an L2vitLinearAttention, lcm a
/// LocalConcentrationModule, norm1 to norm3 layer norms, ffn(z) = fc2(gelu(fc1(z))).
///
///   heed::L2vitBlock<float> block({.h = 14, .w = 14, .num_heads = 8});
///   auto y = block(x);                                      // or block(device, x)
///
/// x and out (B, h w, C); cpe.weight (C, 1, 3, 3), cpe.bias (C); norm{i}.{weight,bias} (C); attn. and lcm. the
/// parameters of those parts; ffn.fc1.weight (F, C), ffn.fc2.weight (C, F), with biases (the authors': F = 4 C). norm3
/// and lcm are not there unless enhanced. Throws heed::Error for shapes and options that do not fit. The same bits for
/// any number of threads. Source: Zheng 2025 (L2ViT), the class LGABlock of the authors' code.
template <Real T>
struct L2vitBlock {
  struct Options {
    Index h = 0;  ///< rows of the map
    Index w = 0;  ///< and columns
    Index num_heads = 1;
    bool enhanced = true;
  };

  Options options;
  Conv2d<T> cpe = {};
  LayerNorm<T> norm1 = {}, norm2 = {}, norm3 = {};
  L2vitLinearAttention<T> attn;
  LocalConcentrationModule<T> lcm;
  Mlp<T> ffn = {};

  explicit L2vitBlock(const Options& o = {})
      : options(o), attn{{.num_heads = o.num_heads}}, lcm{{.h = o.h, .w = o.w}} {}

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "cpe.", cpe, "norm1.", norm1, "norm2.", norm2, "attn.", attn, "ffn.", ffn);
    if (!options.enhanced) return;
    visit_parts(f, "norm3.", norm3, "lcm.", lcm);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    const Index channels = sizes_of(x)[2];
    require_shape(kName, "cpe.weight", const_view(cpe.weight).sizes, std::array<Index, 4>{channels, 1, 3, 3});
    check_linear(kName, "ffn.fc1", ffn.fc1, channels, ffn.fc1.weight.dimension(0));
    check_linear(kName, "ffn.fc2", ffn.fc2, ffn.fc1.weight.dimension(0), channels);
    const auto grid = map_of_tokens(kName, x, options.h, options.w);
    const auto positions = depthwise_tokens(device, grid, cpe.weight, cpe.bias, ConvOptions::same(3, channels));
    const auto placed = add(device, grid.permute({0, 2, 3, 1}), positions);
    const auto tokens = view(placed).merge(1);
    const auto attended = add(device, tokens, attn(device, norm1(device, tokens)));
    if (!options.enhanced) return feed_forward(device, attended);
    return feed_forward(device, add(device, attended, lcm(device, norm3(device, attended))));
  }

 private:
  static constexpr std::string_view kName = "l2vit_block";

  template <class D, class X>
  auto feed_forward(const D& device, const X& x) const {
    return add(device, x, ffn(device, Gelu(), norm2(device, x)));
  }
};

}  // namespace heed::inline HEED_ISA
