// SPDX-License-Identifier: Apache-2.0
// guided_attention_layer: a position or channel self-attention between two convolutions.
#pragma once

#include "heed/block/conv_norm.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/channel/channel_affinity_attention.hpp"
#include "heed/channel/position_attention.hpp"

namespace heed {

/// What a layer attends along.
enum class GuidedAttentionKind { kPosition, kChannel };

inline namespace HEED_ISA {

/// out = prelu(BN(out(attention(prelu(BN(in(x))))))), both convolutions 3x3 with a padding of 1, each prelu with one
/// slope; the attention is PositionAttention or ChannelAffinityAttention.
///
/// x (B, 2 c, h, w), out (B, c, h, w); in.weight (c, 2 c, 3, 3), out.weight (c, c, 3, 3), both with .bias (c) or none,
/// .bn.{weight,bias,mean,var} (c) and .slope (1); the parameters of the attention as there, for c channels. Any number
/// of channels of x will do. Throws heed::Error for shapes that do not fit and a map without positions. Time
/// O(B N^2 c) by position, O(B N c^2) by channel, and the convolutions. The same bits for any number of threads.
/// Source: Sinha and Dolz 2020, the authors' code.
template <Real T>
struct GuidedAttentionLayer {
  using Kind = GuidedAttentionKind;
  struct Options {
    Kind kind = Kind::kPosition;
  };
  /// prelu(BN(conv3x3(x))).
  struct Convolution {
    ConvNorm<T> layer = {};
    Tensor<T, 1> slope = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_part("", layer, f);
      f("slope", slope);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& x) const {
      const auto mixed = conv_2d(device, x, layer.conv.weight, layer.conv.bias, ConvOptions::same(3));
      return prelu(device, layer.bn(device, mixed), slope);
    }
  };

  Options options = {};
  Convolution in = {}, out = {};
  PositionAttention<T> position = {};        ///< used by kPosition
  ChannelAffinityAttention<T> channel = {};  ///< used by kChannel

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("in.", in, f);
    if (options.kind == Kind::kPosition) {
      visit_part("", position, f);
    } else {
      visit_part("", channel, f);
    }
    visit_part("out.", out, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = in.layer.conv.weight.dimension(0);
    require_parameter(kName, "in.weight", in.layer.conv.weight, {-1, sizes_of(x)[1], 3, 3});
    require_parameter(kName, "in.slope", in.slope, {1});
    require_parameter(kName, "out.weight", out.layer.conv.weight, {-1, channels, 3, 3});
    require_parameter(kName, "out.slope", out.slope, {1});
    const auto t = in(device, x);
    return out(device, options.kind == Kind::kPosition ? position(device, t) : channel(device, t));
  }

 private:
  static constexpr std::string_view kName = "guided_attention_layer";
};

}  // namespace HEED_ISA
}  // namespace heed
