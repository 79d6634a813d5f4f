// SPDX-License-Identifier: Apache-2.0
// transposed_attention: cross-covariance attention of maps, q, k and v sharpened by a depthwise convolution.
#pragma once

#include "heed/block/conv_1d.hpp"
#include "heed/block/cross_covariance.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = a 1x1 convolution of concat_h(softmax(temperature_h q_h k_h^T) v_h), with the channels of each head as rows
/// over all positions, those of q and k divided by their norm (or by eps where that is larger); each of q, k and v is a
/// depthwise 3x3 convolution of a 1x1 convolution of x.
///
/// x (B, C, h, w), out as x; {q,k,v}.weight and out.weight (C, C), {q,k,v}_dw.weight (C, 1, 3, 3), all biases (C) or
/// empty; temperature (H). The zeros around the map lie around the results of the 1x1 convolutions, biases included.
/// Throws heed::Error for shapes and options that do not fit and a map without positions. Time O(B N C^2) with N = h w;
/// no N x N memory. The same bits for any number of threads. Source: Zamir et al. 2022 (Restormer).
template <Real T>
struct TransposedAttention {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-12;  ///< positive
  };

  Options options = {};
  ConvChannels<T> q = {}, k = {}, v = {};
  Conv2d<T> q_dw = {}, k_dw = {}, v_dw = {};
  Tensor<T, 1> temperature = {};
  ConvChannels<T> out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "q_dw.", q_dw, "k_dw.", k_dw, "v_dw.", v_dw);
    f("temperature", temperature);
    visit_part("out.", out, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    const Index channels = sizes[1], heads = options.num_heads;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require_parameter(kName, "out.weight", out.weight, {channels, channels});
    const auto queries = sharpened(device, x, "q", q, q_dw);
    const auto keys = sharpened(device, x, "k", k, k_dw);
    const auto values = sharpened(device, x, "v", v, v_dw);
    auto&& space = intermediates<T>(kName, x);
    const auto mixed = space.template make<4>(sizes);
    const auto rows = [&](const auto& y) { return view(y).merge(2).split(1, channels / heads); };
    cross_covariance(device, rows(queries), rows(keys), rows(values), temperature, options.eps, rows(mixed));
    return out(device, mixed);
  }

 private:
  static constexpr std::string_view kName = "transposed_attention";

  template <Device D, Operand X>
  static auto sharpened(const D& device, const X& x, const std::string& name, const ConvChannels<T>& point,
                        const Conv2d<T>& depthwise) {
    const Index channels = sizes_of(x)[1];
    require_parameter(kName, name + ".weight", point.weight, {channels, channels});
    require_parameter(kName, name + "_dw.weight", depthwise.weight, {channels, 1, 3, 3});
    const auto mixed = point(device, x);
    return conv_2d(device, mixed, depthwise.weight, depthwise.bias, ConvOptions::same(3, channels));
  }
};

}  // namespace heed::inline HEED_ISA
