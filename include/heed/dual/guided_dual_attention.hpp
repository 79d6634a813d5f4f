// SPDX-License-Identifier: Apache-2.0
// guided_dual_attention: position and channel attention, times a map that guides them.
#pragma once

#include "heed/channel/guided_attention_layer.hpp"

namespace heed::inline HEED_ISA {

/// out = out((channel(x) + position(x)) * sem(s)): two GuidedAttentionLayers, a 3x3 convolution of the guidance map s
/// (SemanticGuidance of x) and a 1x1 convolution.
///
///   heed::GuidedDualAttention<float> attend;
///   auto y = attend(x, guide(x).out);
///
/// x and s (B, 2 c, h, w), out (B, c, h, w); position.* and channel.* as there, sem.weight (c, 2 c, 3, 3), out.weight
/// (c, c), with biases or without. The authors apply it twice for each level: to [F_level, F_multi], then, with other
/// parameters, to [F_level, out * F_multi]. Throws heed::Error for shapes that do not fit (s of an odd x has one row
/// less: pad or resize it) and a map without positions. The same bits for any number of threads. Source: Sinha and Dolz
/// 2020, the authors' code.
template <Real T>
struct GuidedDualAttention {
  GuidedAttentionLayer<T> position{{.kind = GuidedAttentionKind::kPosition}};
  GuidedAttentionLayer<T> channel{{.kind = GuidedAttentionKind::kChannel}};
  Conv2d<T> sem = {};
  ConvChannels<T> out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "position.", position, "channel.", channel, "sem.", sem, "out.", out);
  }

  template <Operand X, Operand S>
  auto operator()(const X& x, const S& s) const {
    return (*this)(DeviceRef(), x, s);
  }
  template <Device D, Operand X, Operand S>
  auto operator()(const D& device, const X& x_like, const S& s_like) const {
    static_assert(kOperandRank<S> == 4, "heed::GuidedDualAttention: s is (B, 2 c, h, w)");
    require_map(kName, x_like);
    const auto sizes = sizes_of(x_like), guide = sizes_of(s_like);
    require(guide[0] == sizes[0] && guide[2] == sizes[2] && guide[3] == sizes[3], kName, "s of shape ",
            shape_text(guide), " must have the size of x of shape ", shape_text(sizes));
    const Index channels = out.weight.dimension(1);
    require_parameter(kName, "sem.weight", sem.weight, {channels, guide[1], 3, 3});
    require_parameter(kName, "out.weight", out.weight, {-1, channels});
    const auto x = parameter_with(x_like, s_like);
    const auto sum = add(device, channel(device, x), position(device, x));
    const auto guidance = conv_2d(device, parameter_with(s_like, x_like), sem.weight, sem.bias, ConvOptions::same(3));
    return out(device, multiply(device, sum, guidance));
  }

 private:
  static constexpr std::string_view kName = "guided_dual_attention";
};

}  // namespace heed::inline HEED_ISA
