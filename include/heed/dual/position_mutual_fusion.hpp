// SPDX-License-Identifier: Apache-2.0
// position_mutual_fusion: one of two modalities at every position.
#pragma once

#include "heed/block/softmax_axis.hpp"
#include "heed/dual/mutual_fusion.hpp"

namespace heed::inline HEED_ISA {

/// out = a_0 r + a_1 d, r = relu(BN(conv3x3(rgb))), d = relu(BN(conv3x3(depth))), a = softmax over the two maps of
/// score([max over the channels of r + d, mean over them]), or a sigmoid of each.
///
/// rgb (B, C1, h, w), depth (B, C2, h, w), out (B, C, h, w); rgb.weight (C, C1, 3, 3), depth.weight (C, C2, 3, 3), no
/// bias, {rgb,depth}.bn.{weight,bias,mean,var} (C); score.weight (2, 2, k, k) with odd k (7), score.bias (2) or empty,
/// with the padding that keeps the size. Throws heed::Error for shapes that do not fit and maps without positions. Time
/// O(B h w (9 C C1 + 9 C C2 + 4 k^2)). The same bits for any number of threads. Source: our reading of Yi et al. 2025
/// (GL-DMNet), whose code was not available; the scores and their normaliser are ours.
template <Real T>
struct PositionMutualFusion {
  struct Options {
    MutualNormalizer normalizer = MutualNormalizer::kSoftmax;
  };

  Options options = {};
  ConvNorm<T> rgb = {}, depth = {};
  Conv2d<T> score = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "rgb.", rgb, "depth.", depth, "score.", score);
  }

  template <Operand R, Operand Z>
  auto operator()(const R& rgb_map, const Z& depth_map) const {
    return (*this)(DeviceRef(), rgb_map, depth_map);
  }
  template <Device D, Operand R, Operand Z>
  auto operator()(const D& device, const R& rgb_map, const Z& depth_map) const {
    detail::check_mutual(kName, rgb_map, depth_map, rgb, depth);
    const Index k = score.weight.dimension(2);
    require_parameter(kName, "score.weight", score.weight, {2, 2, k, k});
    require(k % 2 == 1, kName, "score.weight must have an odd kernel, got ", k);
    const auto r = rgb.relu(device, parameter_with(rgb_map, depth_map), ConvOptions::same(3));
    const auto d = depth.relu(device, parameter_with(depth_map, rgb_map), ConvOptions::same(3));
    const auto sum = add(device, r, d);
    const auto statistics = concat<1>(device, max(device, sum, {1}), mean(device, sum, {1}));
    const auto logits = conv_2d(device, statistics, score.weight, score.bias, ConvOptions::same(k));
    const auto a =
        options.normalizer == MutualNormalizer::kSoftmax ? softmax<1>(device, logits) : sigmoid(device, logits);
    return detail::weigh_two(device, r, d, view(a).slice(1, 0, 1), view(a).slice(1, 1, 1));
  }

 private:
  static constexpr std::string_view kName = "position_mutual_fusion";
};

}  // namespace heed::inline HEED_ISA
