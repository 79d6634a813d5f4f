// SPDX-License-Identifier: Apache-2.0
// bam: a channel branch and a dilated spatial branch, joined into one gate of the map's size.
#pragma once

#include <vector>

#include "heed/block/batch_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x * (1 + sigmoid(c * s)), or of c + s; c * s is of the map's size and never stored.
struct JointGate {
  static constexpr std::string_view kName = "bam";
  bool sum = false;
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> c, simd::Batch<T> s) const {
    return simd::fma(x, Sigmoid().value<T>(join<T>(c, s)), x);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> c, simd::Batch<T> s) const {
    if constexpr (Operand == 0) {
      return simd::fma(d, Sigmoid().value<T>(join<T>(c, s)), d);
    } else {
      const simd::Batch<T> by_join = d * x * Sigmoid().derivative<T>(join<T>(c, s));
      if (sum) return by_join;
      return by_join * (Operand == 1 ? s : c);
    }
  }

 private:
  template <Real T>
  simd::Batch<T> join(simd::Batch<T> c, simd::Batch<T> s) const {
    return sum ? c + s : c * s;
  }
};

}  // namespace detail

/// out = x * (1 + sigmoid(c * s)), or of c + s. The channel branch c (B, C, 1, 1) is the mean of each channel,
/// num_layers times through relu(BN(fc)), then channel.out. The spatial branch s (B, 1, h, w) is relu(BN(reduce(x))),
/// dilation_convs times through relu(BN(conv3x3)) with the dilation and the padding that keeps the size, then
/// spatial.out.
///
///   heed::Bam<float> bam{{.num_layers = 1, .dilation_convs = 2, .dilation = 4}};
///
/// x (B, C, h, w), out as x; channel.fc0.weight (R, C), channel.fc{i}.weight (R, R),
/// channel.bn{i}.{weight,bias,mean,var} (R), channel.out.weight (C, R); spatial.reduce.weight (R, C), spatial.bn and
/// spatial.bn{i} (R), spatial.conv{i}.weight (R, R, 3, 3), spatial.out.weight (1, R); all layers with a bias. R follows
/// from the shapes (the paper: C / 16). Throws heed::Error for shapes and options that do not fit and a map without
/// positions. The same bits for any number of threads. Source: Park et al. 2018; the product is the
/// authors' code, the sum their equation.
template <Real T>
struct Bam {
  enum class Combine { kMultiply, kAdd };
  struct Options {
    Index num_layers = 1;      ///< 1 or more
    Index dilation_convs = 2;  ///< 0 or more
    Index dilation = 4;        ///< 1 or more
    Combine combine = Combine::kMultiply;
  };
  struct ChannelLayer {
    Linear<T> fc = {};
    BatchNorm<T> bn = {};
  };
  struct SpatialLayer {
    Conv2d<T> conv = {};
    BatchNorm<T> bn = {};
  };

  Options options;
  std::vector<ChannelLayer> channel;  ///< as many as num_layers
  Linear<T> channel_out = {};
  ConvChannels<T> reduce = {};
  BatchNorm<T> reduce_bn = {};
  std::vector<SpatialLayer> spatial;  ///< as many as dilation_convs
  ConvChannels<T> spatial_out = {};

  explicit Bam(const Options& o = {}) : options(o) {
    require(o.num_layers > 0 && o.dilation_convs >= 0 && o.dilation > 0, kName,
            "num_layers and dilation must be 1 or more and dilation_convs 0 or more, got ", o.num_layers, ", ",
            o.dilation, " and ", o.dilation_convs);
    channel.resize(std::size_t(o.num_layers));
    spatial.resize(std::size_t(o.dilation_convs));
  }

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < channel.size(); ++i) {
      visit_part("channel.fc" + std::to_string(i) + ".", channel[i].fc, f);
      visit_part("channel.bn" + std::to_string(i) + ".", channel[i].bn, f);
    }
    visit_parts(f, "channel.out.", channel_out, "spatial.reduce.", reduce, "spatial.bn.", reduce_bn);
    for (std::size_t i = 0; i < spatial.size(); ++i) {
      visit_part("spatial.conv" + std::to_string(i) + ".", spatial[i].conv, f);
      visit_part("spatial.bn" + std::to_string(i) + ".", spatial[i].bn, f);
    }
    visit_part("spatial.out.", spatial_out, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1];
    require_parameter(kName, "channel.fc0.weight", channel[0].fc.weight, {-1, channels});
    require_parameter(kName, "channel.out.weight", channel_out.weight, {channels, -1});
    require_parameter(kName, "spatial.reduce.weight", reduce.weight, {-1, channels});
    const auto c = channel_branch(device, x);
    const auto s = spatial_branch(device, x);
    return pointwise(detail::JointGate{options.combine == Combine::kAdd}, device, x, c, s);
  }

 private:
  static constexpr std::string_view kName = "bam";

  template <Device D, Operand X>
  auto channel_branch(const D& device, const X& x) const {
    auto c = mean(device, x, {2, 3});
    for (const ChannelLayer& layer : channel) {
      const auto mixed = conv_channels(device, c, layer.fc.weight, layer.fc.bias);
      const auto normal = layer.bn(device, mixed);
      c = relu(device, normal);
    }
    return conv_channels(device, c, channel_out.weight, channel_out.bias);
  }

  template <Device D, Operand X>
  auto spatial_branch(const D& device, const X& x) const {
    const auto reduced = reduce(device, x);
    const auto reduced_normal = reduce_bn(device, reduced);
    auto s = relu(device, reduced_normal);
    for (const SpatialLayer& layer : spatial) {
      const auto mixed =
          conv_2d(device, s, layer.conv.weight, layer.conv.bias, ConvOptions::same(3, 1, 1, options.dilation));
      const auto normal = layer.bn(device, mixed);
      s = relu(device, normal);
    }
    return spatial_out(device, s);
  }
};

}  // namespace heed::inline HEED_ISA
