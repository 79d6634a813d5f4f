// SPDX-License-Identifier: Apache-2.0
// channel_mutual_fusion: one of two modalities for every channel.
#pragma once

#include "heed/block/softmax_axis.hpp"
#include "heed/dual/mutual_fusion.hpp"

namespace heed::inline HEED_ISA {

/// out = a_0 r + a_1 d, r = relu(BN(conv3x3(rgb))), d = relu(BN(conv3x3(depth))), a = softmax over the two of
/// fc2(relu(fc1([mean of each channel of r, and of d]))), whose first C logits are r's, or a sigmoid of each.
///
/// rgb (B, C1, h, w), depth (B, C2, h, w), out (B, C, h, w); rgb.weight (C, C1, 3, 3), depth.weight (C, C2, 3, 3), no
/// bias, {rgb,depth}.bn.{weight,bias,mean,var} (C); fc1.weight (R, 2 C), fc2.weight (2 C, R), their biases or none. A
/// level of the authors' network is PositionMutualFusion plus this. Throws heed::Error for shapes that do not fit and
/// maps without positions. Cost of the convolutions. The same bits for any number of threads. Source: our reading of Yi
/// et al. 2025 (GL-DMNet), whose code was not available.
template <Real T>
struct ChannelMutualFusion {
  struct Options {
    MutualNormalizer normalizer = MutualNormalizer::kSoftmax;
  };

  Options options = {};
  ConvNorm<T> rgb = {}, depth = {};
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "rgb.", rgb, "depth.", depth, "fc1.", fc1, "fc2.", fc2);
  }

  template <Operand R, Operand Z>
  auto operator()(const R& rgb_map, const Z& depth_map) const {
    return (*this)(DeviceRef(), rgb_map, depth_map);
  }
  template <Device D, Operand R, Operand Z>
  auto operator()(const D& device, const R& rgb_map, const Z& depth_map) const {
    detail::check_mutual(kName, rgb_map, depth_map, rgb, depth);
    const Index channels = rgb.conv.weight.dimension(0);
    require_parameter(kName, "fc1.weight", fc1.weight, {-1, 2 * channels});
    require_parameter(kName, "fc2.weight", fc2.weight, {2 * channels, fc1.weight.dimension(0)});
    const auto r = rgb.relu(device, parameter_with(rgb_map, depth_map), ConvOptions::same(3));
    const auto d = depth.relu(device, parameter_with(depth_map, rgb_map), ConvOptions::same(3));
    const auto squeezed = concat<1>(device, mean(device, r, {2, 3}), mean(device, d, {2, 3}));
    const auto logits = bottleneck(device, squeezed, fc1, fc2);
    const auto pairs = view(logits).split(1, channels);  // (B, 2, C, 1, 1)
    const auto a =
        options.normalizer == MutualNormalizer::kSoftmax ? softmax<1>(device, pairs) : sigmoid(device, pairs);
    return detail::weigh_two(device, r, d, view(a).select(1, 0), view(a).select(1, 1));
  }

 private:
  static constexpr std::string_view kName = "channel_mutual_fusion";
};

}  // namespace heed::inline HEED_ISA
