// SPDX-License-Identifier: Apache-2.0
// local_global_fusion: two modalities blended at each position, then each position attends to both everywhere.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/blend.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// out = l + attention of l to the tokens of radar and camera, l = g radar + (1 - g) camera, g = sigmoid(gate([radar,
/// camera])), a convolution with the padding that keeps the size.
///
///   heed::LocalGlobalFusion<float> fuse{{.num_heads = 4}};
///   auto y = fuse(radar, camera);
///
/// radar and camera (B, C, h, w), out as they; gate.weight (C, 2 C, k, k) with odd k, gate.bias (C) or empty; q, k, v
/// and out of weight (C, C) and bias (C) or empty; C is a multiple of num_heads. Throws heed::Error for shapes and
/// options that do not fit and maps without positions. Time of the convolution and O(B (h w)^2 C). The same bits for
/// any number of threads. Source: our reading of Yang et al. 2025 (MetaOcc), whose code and equations were not
/// available; theirs is believed to attend at learned offsets.
template <Real T>
struct LocalGlobalFusion {
  struct Options {
    Index num_heads = 1;
  };

  Options options = {};
  Conv2d<T> gate = {};
  ProjectedAttention<T> attention = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "gate.", gate, "", attention);
  }

  template <Operand R, Operand C>
  auto operator()(const R& radar, const C& camera) const {
    return (*this)(DeviceRef(), radar, camera);
  }
  template <Device D, Operand R, Operand C>
  auto operator()(const D& device, const R& radar_like, const C& camera_like) const {
    static_assert(kOperandRank<R> == 4 && kOperandRank<C> == 4, "heed::LocalGlobalFusion: maps are (B, C, h, w)");
    const auto sizes = sizes_of(radar_like);
    check(sizes, sizes_of(camera_like));
    const auto radar = parameter_with(radar_like, camera_like);
    const auto camera = parameter_with(camera_like, radar_like);
    const auto both = concat<1>(device, radar, camera);
    const auto logits = conv_2d(device, both, gate.weight, gate.bias, ConvOptions::same(gate.weight.dimension(2)));
    const auto local = blend(device, sigmoid(device, logits), radar, camera);
    // (B, 2 h w, C): the channels of `both` are two maps of C.
    const auto context =
        concat<1>(device, tokens(view(both).slice(1, 0, sizes[1])), tokens(view(both).slice(1, sizes[1], sizes[1])));
    const auto attended =
        attention(device, softmax_attention(), options.num_heads, tokens(view(local)), context, context);
    return add(device, local, view(attended).split(1, sizes[3]).permute({0, 3, 1, 2}));
  }

 private:
  static constexpr std::string_view kName = "local_global_fusion";

  template <class X>
  static auto tokens(const X& map) {
    return map.merge(2).permute({0, 2, 1});
  }

  void check(const std::array<Index, 4>& radar, const std::array<Index, 4>& camera) const {
    require(radar[2] > 0 && radar[3] > 0, kName, "radar must have positions, got shape ", shape_text(radar));
    require_shape(kName, "camera", camera, radar);
    const Index channels = radar[1], k = gate.weight.dimension(2);
    require(k % 2 == 1, kName, "gate.weight must have an odd kernel, got ", k);
    require_shape(kName, "gate.weight", const_view(gate.weight).sizes,
                  std::array<Index, 4>{channels, 2 * channels, k, k});
    attention.check(kName, "", channels, channels, options.num_heads);
  }
};

}  // namespace heed::inline HEED_ISA
