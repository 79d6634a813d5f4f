// SPDX-License-Identifier: Apache-2.0
// medusa_attention: one map of attention from the image, one light head for each scale of a backbone.
#pragma once

#include <string>
#include <vector>

#include "heed/block/conv_2d.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// out_j = features_j a_j, or features_j a_j + features_j with `residual`; a_j = sigmoid(head_j(the global map resized
/// to h_j x w_j)). The global map is the end of an encoder of image, relu(conv) of stride 2 for each level, and of a
/// decoder of as many levels, each a resize to twice the size and a convolution, with relu but after the last.
///
///   heed::MedusaAttention<float> attend({.num_levels = 2, .num_scales = 3});
///   auto y = attend(image, std::vector<heed::View<const float, 4>>{features0, features1, features2});
///
/// image (B, Ci, H, W), features_j (B, C_j, h_j, w_j), features_out as they, global_map (B, Cg, H', W') with H' =
/// 2^levels times what the encoder leaves of H; enc{l}.weight (e_l, e_{l-1}, 3, 3), dec{l}.weight likewise and of Cg in
/// the last, head{j}.weight (C_j, Cg, 3, 3), each with a bias or none. All convolutions have a padding of 1, all
/// resizes are bilinear with half-pixel centres. Throws heed::Error for shapes and options that do not fit and maps
/// without positions. Cost of the convolutions. The same bits for any number of threads. Source: our reading of
/// Aboutalebi et al. 2021 (MEDUSA), whose code was not available; the layers are ours.
template <Real T>
struct MedusaAttention {
  struct Options {
    Index num_levels = 1;  ///< of the encoder, and of the decoder
    Index num_scales = 1;
    bool residual = false;
  };
  template <class Map>
  struct Result {
    Map global_map;
    std::vector<Map> features;
  };

  Options options;
  std::vector<Conv2d<T>> enc, dec, head;

  explicit MedusaAttention(const Options& o = {}) : options(o) {
    require(o.num_levels > 0 && o.num_scales > 0, kName, "num_levels and num_scales must be 1 or more, got ",
            o.num_levels, " and ", o.num_scales);
    enc.resize(std::size_t(o.num_levels));
    dec.resize(std::size_t(o.num_levels));
    head.resize(std::size_t(o.num_scales));
  }

  template <class F>
  void for_each_parameter(F&& f) {
    const auto visit = [&](const std::string& name, std::vector<Conv2d<T>>& layers) {
      for (std::size_t i = 0; i < layers.size(); ++i) visit_part(name + std::to_string(i) + ".", layers[i], f);
    };
    visit("enc", enc);
    visit("dec", dec);
    visit("head", head);
  }

  template <Operand I, Operand X>
  auto operator()(const I& image, const std::vector<X>& features) const {
    return (*this)(DeviceRef(), image, features);
  }
  template <Device D, Operand I, Operand X>
  auto operator()(const D& device, const I& image_like, const std::vector<X>& features) const {
    static_assert(kOperandRank<I> == 4 && kOperandRank<X> == 4, "heed::MedusaAttention: maps are (B, C, h, w)");
    check(sizes_of(image_like), features);
    const auto image = parameter_with(image_like, features[0]);
    auto map = relu(device, conv_2d(device, image, enc[0].weight, enc[0].bias, ConvOptions::same(3, 1, 2)));
    for (std::size_t l = 1; l < enc.size(); ++l)
      map = relu(device, conv_2d(device, map, enc[l].weight, enc[l].bias, ConvOptions::same(3, 1, 2)));
    for (std::size_t l = 0; l < dec.size(); ++l) {
      const auto sizes = sizes_of(map);
      const auto larger = resize_bilinear(device, map, {2 * sizes[2], 2 * sizes[3]});
      map = convolve(device, larger, dec[l]);
      if (l + 1 < dec.size()) map = relu(device, map);
    }
    Result<decltype(map)> result{map, {}};
    for (std::size_t j = 0; j < features.size(); ++j) {
      const auto x = parameter_with(features[j], map);
      const auto sizes = sizes_of(x);
      const auto factor =
          sigmoid(device, convolve(device, resize_bilinear(device, map, {sizes[2], sizes[3]}), head[j]));
      result.features.push_back(options.residual ? residual_gate(device, x, factor) : gate(device, x, factor));
    }
    return result;
  }

 private:
  static constexpr std::string_view kName = "medusa_attention";

  template <class D, class X>
  static auto convolve(const D& device, const X& x, const Conv2d<T>& layer) {
    return conv_2d(device, x, layer.weight, layer.bias, ConvOptions::same(3));
  }

  template <class X>
  void check(const std::array<Index, 4>& image, const std::vector<X>& features) const {
    require(image[2] > 0 && image[3] > 0, kName, "image must have positions, got shape ", shape_text(image));
    require(features.size() == head.size(), kName, "num_scales = ", head.size(), " maps of features are needed, got ",
            features.size());
    Index channels = image[1];
    const auto chain = [&](const std::string& name, const std::vector<Conv2d<T>>& layers) {
      for (std::size_t i = 0; i < layers.size(); ++i) {
        require_parameter(kName, name + std::to_string(i) + ".weight", layers[i].weight, {-1, channels, 3, 3});
        channels = layers[i].weight.dimension(0);
      }
    };
    chain("enc", enc);
    chain("dec", dec);
    for (std::size_t j = 0; j < features.size(); ++j) {
      const auto sizes = sizes_of(features[j]);
      require(sizes[0] == image[0] && sizes[2] > 0 && sizes[3] > 0, kName, "features", j,
              " must have shape (B, C, h, w) with B = ", image[0], " and positions, got ", shape_text(sizes));
      require_parameter(kName, "head" + std::to_string(j) + ".weight", head[j].weight, {sizes[1], channels, 3, 3});
    }
  }
};

}  // namespace heed::inline HEED_ISA
