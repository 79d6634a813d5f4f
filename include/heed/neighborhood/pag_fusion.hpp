// SPDX-License-Identifier: Apache-2.0
// pag_fusion: a coarse map joins a fine one where both agree.
#pragma once

#include "heed/block/blend.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// out = (1 - g) x + g resize(y), with k = x.bn(x.conv(x)), r = resize(y.bn(y.conv(y))) and g = sigmoid(sum over
/// channels of k r), or, `with_channel`, sigmoid(up.bn(up.conv(k r))). With `after_relu`, x and y go through a relu
/// first. Convolutions of one position, bilinear resizing to h x w.
///
///   heed::PagFusion<float> fuse;
///   auto z = fuse(x, y);                                    // or fuse(device, x, y)
///
/// x and out (B, C, h, w), y (B, C, h', w'); {x,y}.conv.weight (M, C), {x,y}.bn.{weight,bias,mean,var} (M); with
/// with_channel up.conv.weight (C, M), up.bn (C); no biases. Throws heed::Error for shapes that do not fit and maps
/// without positions. Time O(B h w C M); the same bits for any number of threads.
/// Source: Xu et al. 2023 (PIDNet), the class PagFM as in the code of BEVANet (Huang et al. 2025).
template <Real T>
struct PagFusion {
  struct Options {
    bool after_relu = false;
    bool with_channel = false;
  };
  struct Layer {
    ConvChannels<T> conv = {};
    BatchNorm<T> bn = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "conv.", conv, "bn.", bn);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& x) const {
      return bn(device, conv(device, x));
    }
  };

  Options options = {};
  Layer x = {}, y = {}, up = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "x.", x, "y.", y);
    if (options.with_channel) visit_part("up.", up, f);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& x_map, const Y& y_map) const {
    return (*this)(DeviceRef(), x_map, y_map);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& x_map, const Y& y_map) const {
    require_map(kName, x_map);
    const auto sizes = sizes_of(x_map);
    require_shape(kName, "y", sizes_of(y_map),
                  std::array<Index, 4>{sizes[0], sizes[1], sizes_of(y_map)[2], sizes_of(y_map)[3]});
    const Index inner = x.conv.weight.dimension(0);
    require_parameter(kName, "x.conv.weight", x.conv.weight, {-1, sizes[1]});
    require_parameter(kName, "y.conv.weight", y.conv.weight, {inner, sizes[1]});
    if (options.with_channel) require_parameter(kName, "up.conv.weight", up.conv.weight, {sizes[1], inner});
    if (options.after_relu) return fuse(device, relu(device, x_map), relu(device, y_map));
    return fuse(device, x_map, y_map);
  }

 private:
  static constexpr std::string_view kName = "pag_fusion";

  template <class D, class X, class Y>
  auto fuse(const D& device, const X& x_map, const Y& y_map) const {
    const std::array<Index, 2> size{sizes_of(x_map)[2], sizes_of(x_map)[3]};
    const auto k = x(device, x_map);
    const auto r = resize_bilinear(device, y(device, y_map), size);
    const auto coarse = resize_bilinear(device, y_map, size);
    if (options.with_channel) return blend(device, sigmoid(device, up(device, multiply(device, k, r))), coarse, x_map);
    return blend(device, sigmoid(device, pointwise_sum(ProductOf(), device, {1}, k, r)), coarse, x_map);
  }
};

}  // namespace heed::inline HEED_ISA
