// SPDX-License-Identifier: Apache-2.0
// mafi: a map fused of two modalities, gated per channel by each of them.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = m * s_l + m * s_i: l, i and m are relu(BN(3x3 conv)) of lidar, of image and of [image, lidar];
/// s_l = sigmoid(gate(mean of each channel of l)), s_i likewise of i.
///
/// image (B, Ci, h, w), lidar (B, Cl, h, w), out (B, C, h, w); lidar.weight (C, Cl, 3, 3), image.weight (C, Ci, 3, 3),
/// fuse.weight (C, Ci + Cl, 3, 3), each with .bn.{weight,bias,mean,var} (C) and no bias; gate.weight (C, C), gate.bias
/// (C), or, where it is empty, gate_lidar and gate_image of the same shapes. Throws heed::Error for shapes that do not
/// fit and maps without positions. Time O(18 B h w C (Ci + Cl)). The same bits for any number of threads. Source: M3Net
/// 2025; the authors' code calls one gate for both modalities, their paper describes two.
template <Real T>
struct Mafi {
  ConvNorm<T> lidar = {}, image = {}, fuse = {};
  Linear<T> shared_gate = {};  ///< "gate."
  Linear<T> gate_lidar = {}, gate_image = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "lidar.", lidar, "image.", image, "fuse.", fuse);
    visit_part("gate.", shared_gate, f, heed::optional);
    visit_part("gate_lidar.", gate_lidar, f, heed::optional);
    visit_part("gate_image.", gate_image, f, heed::optional);
  }

  template <Operand I, Operand L>
  auto operator()(const I& image_map, const L& lidar_map) const {
    return (*this)(DeviceRef(), image_map, lidar_map);
  }
  template <Device D, Operand I, Operand L>
  auto operator()(const D& device, const I& image_map, const L& lidar_map) const {
    require_map(kName, image_map);
    const auto sizes = sizes_of(image_map);
    require_shape(kName, "lidar", sizes_of(lidar_map),
                  std::array<Index, 4>{sizes[0], sizes_of(lidar_map)[1], sizes[2], sizes[3]});
    const bool share = shared_gate.weight.size() > 0;
    const auto s_l = factor(device, lidar, lidar_map, share ? shared_gate : gate_lidar);
    const auto s_i = factor(device, image, image_map, share ? shared_gate : gate_image);
    const auto m = fuse.relu(device, concat<1>(device, image_map, lidar_map), ConvOptions::same(3));
    return gate(device, m, add(device, s_l, s_i));
  }

 private:
  static constexpr std::string_view kName = "mafi";

  template <Device D, Operand X>
  static auto factor(const D& device, const ConvNorm<T>& layer, const X& x, const Linear<T>& by) {
    const Index channels = layer.conv.weight.dimension(0);
    require_parameter(kName, "gate.weight", by.weight, {channels, channels});
    const auto features = layer.relu(device, x, ConvOptions::same(3));
    return sigmoid(device, conv_channels(device, mean(device, features, {2, 3}), by.weight, by.bias));
  }
};

}  // namespace heed::inline HEED_ISA
