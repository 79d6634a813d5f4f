// SPDX-License-Identifier: Apache-2.0
// visual_attention_block: visual attention and a convolutional feed-forward network, behind norms and scaled.
#pragma once

#include "heed/block/residual.hpp"
#include "heed/neighborhood/visual_attention.hpp"

namespace heed::inline HEED_ISA {

/// y = x + layer_scale1 attn(bn1(x)), out = y + layer_scale2 ffn.fc2(gelu(ffn.dw(ffn.fc1(bn2(y))))), the scales per
/// channel: attn is a VisualAttention, which adds its own input, dw a depthwise 3x3 convolution.
///
///   heed::VisualAttentionBlock<float> block;
///   auto y = block(x);                                      // or block(device, x)
///
/// x and out (B, C, h, w); bn1 and bn2.{weight,bias,mean,var}, layer_scale1 and layer_scale2 (C); attn., the parameters
/// of that part; ffn.fc1.weight (F, C), ffn.dw.weight (F, 1, 3, 3), ffn.fc2.weight (C, F), with biases (the authors':
/// F = 4 C). Throws heed::Error for shapes and options that do not fit and maps without positions. The same bits for
/// any number of threads. Source: Guo et al. 2022 (Visual Attention Network), the class Block of the authors' code;
/// EVAN of BEVANet (Huang et al. 2025), whose backbone puts a layer norm behind some of them, which is not part of it.
template <Real T, class Unit = LargeKernelAttention<T>>
struct VisualAttentionBlock {
  struct FeedForward {
    ConvChannels<T> fc1 = {};
    Conv2d<T> dw = {};
    ConvChannels<T> fc2 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "fc1.", fc1, "dw.", dw, "fc2.", fc2);
    }
  };

  BatchNorm<T> bn1 = {}, bn2 = {};
  VisualAttention<T, Unit> attn = {};
  FeedForward ffn = {};
  Tensor<T, 1> layer_scale1 = {}, layer_scale2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "bn1.", bn1, "bn2.", bn2, "attn.", attn, "ffn.", ffn);
    f("layer_scale1", layer_scale1);
    f("layer_scale2", layer_scale2);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1], inner = ffn.fc1.weight.dimension(0);
    require_parameter(kName, "layer_scale1", layer_scale1, {channels});
    require_parameter(kName, "layer_scale2", layer_scale2, {channels});
    require_parameter(kName, "ffn.fc1.weight", ffn.fc1.weight, {-1, channels});
    require_parameter(kName, "ffn.fc2.weight", ffn.fc2.weight, {channels, inner});
    const auto factors = [](const Tensor<T, 1>& scale) { return view(scale).split(0, 1).split(1, 1); };  // (C, 1, 1)
    const auto y = add_product(device, x, attn(device, bn1(device, x)), factors(layer_scale1));
    const auto wide = ffn.fc1(device, bn2(device, y));
    const auto active = gelu(device, detail::depthwise_same(device, kName, "ffn.dw", wide, ffn.dw));
    return add_product(device, y, ffn.fc2(device, active), factors(layer_scale2));
  }

 private:
  static constexpr std::string_view kName = "visual_attention_block";
};

}  // namespace heed::inline HEED_ISA
