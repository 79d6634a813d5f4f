// SPDX-License-Identifier: Apache-2.0
// self_attention_fusion: two maps joined, and one attention block with a convolutional feed-forward.
#pragma once

#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/channel/spatial_reduction_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = LN_out(z) with y = LN_in(in([x1, x2])), y <- y + attn(LN1(y)), t = BN1(gelu(fc1(LN2(y)))), t <- t +
/// BN2(gelu(depthwise 3x3(t))), z = y + BN3(fc2(t)). All layer norms are over the channels of a position, in, fc1 and
/// fc2 are 1x1 convolutions, and the batch norms come behind the gelu.
///
/// x1 and x2 (B, C, h, w), out as they; in.{weight,bias} (C, 2 C), (C); {ln_in,ln1,ln2,ln_out}.{weight,bias} (C); attn.
/// as SpatialReductionAttention, with its options and position terms; ffn.fc1 (F, C), ffn.bn1 (F), ffn.dw.weight (F, 1,
/// 3, 3), ffn.bn2 (F), ffn.fc2 (C, F), ffn.bn3 (C), all with biases or without; F (the authors': 4 C) follows from the
/// shapes. Throws heed::Error for shapes and options that do not fit. Cost of the attention and O(B h w C F). The same
/// bits for any number of threads. Source: Yu et al. 2022 (FE-LSD), fusion of the dual hourglass.
template <Real T>
struct SelfAttentionFusion {
  /// z - y = BN3(fc2(t)) of LN2(y).
  struct FeedForward {
    ConvChannels<T> fc1 = {}, fc2 = {};
    Conv2d<T> dw = {};
    BatchNorm<T> bn1 = {}, bn2 = {}, bn3 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "fc1.", fc1, "bn1.", bn1, "dw.", dw, "bn2.", bn2, "fc2.", fc2, "bn3.", bn3);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& x) const {
      const auto wide = bn1(device, gelu(device, fc1(device, x)));
      const auto near = conv_2d(device, wide, dw.weight, dw.bias, ConvOptions::same(3, sizes_of(wide)[1]));
      const auto both = add(device, wide, bn2(device, gelu(device, near)));
      return bn3(device, fc2(device, both));
    }
  };

  ConvChannels<T> in = {};
  LayerNorm<T> ln_in = {}, ln1 = {}, ln2 = {}, ln_out = {};
  SpatialReductionAttention<T> attn = {};
  FeedForward ffn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "in.", in, "ln_in.", ln_in, "ln1.", ln1, "attn.", attn, "ln2.", ln2, "ffn.", ffn, "ln_out.", ln_out);
  }

  template <Operand X1, Operand X2>
  auto operator()(const X1& x1, const X2& x2) const {
    return (*this)(DeviceRef(), x1, x2);
  }
  template <Device D, Operand X1, Operand X2>
  auto operator()(const D& device, const X1& x1, const X2& x2) const {
    require_map(kName, x1);
    require_shape(kName, "x2", sizes_of(x2), sizes_of(x1));
    const Index channels = sizes_of(x1)[1], inner = ffn.fc1.weight.dimension(0);
    require_parameter(kName, "in.weight", in.weight, {channels, 2 * channels});
    require_parameter(kName, "ffn.fc1.weight", ffn.fc1.weight, {-1, channels});
    require_parameter(kName, "ffn.dw.weight", ffn.dw.weight, {inner, 1, 3, 3});
    require_parameter(kName, "ffn.fc2.weight", ffn.fc2.weight, {channels, inner});
    const auto norm = [&](const LayerNorm<T>& layer, const auto& y) {
      return layer_norm_channels(device, y, layer.weight, layer.bias, layer.eps);
    };
    const auto joined = norm(ln_in, in(device, concat<1>(device, x1, x2)));
    const auto attended = add(device, joined, attn(device, norm(ln1, joined)));
    const auto fed = add(device, attended, ffn(device, norm(ln2, attended)));
    return norm(ln_out, fed);
  }

 private:
  static constexpr std::string_view kName = "self_attention_fusion";
};

}  // namespace heed::inline HEED_ISA
