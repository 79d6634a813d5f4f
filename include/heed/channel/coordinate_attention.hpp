// SPDX-License-Identifier: Apache-2.0
// coordinate_attention: a gate of rows and one of columns from jointly encoded strips.
#pragma once

#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// x * clamp(x + 3, 0, 6) / 6, the hard swish.
struct HardSwish {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return x * share<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    using Batch = simd::Batch<T>;
    const Batch inside = simd::select(x < Batch(T(3)), simd::select(x > Batch(T(-3)), x, Batch(T(0))), Batch(T(0)));
    return simd::fma(inside, Batch(T(1) / T(6)), share<T>(x));
  }

 private:
  template <Real T>
  static simd::Batch<T> share(simd::Batch<T> x) {
    using Batch = simd::Batch<T>;
    return simd::min(simd::max_or_nan(Batch(T(0)), x + Batch(T(3))), Batch(T(6))) * Batch(T(1) / T(6));
  }
};

/// out(b, c, i, j) = x(b, c, i, j) * sigmoid(conv_h(f))(b, c, i) * sigmoid(conv_w(f))(b, c, j), f = hard swish of
/// BN(conv1(s)), s the means of the h rows and of the w columns as one strip; conv_h takes its first h positions,
/// conv_w the others.
///
/// x (B, C, h, w), out as x; conv1.weight (m, C), conv1.bias (m), bn.{weight,bias,mean,var} (m), conv_h.weight and
/// conv_w.weight (C, m), their biases (C). m follows from the shapes (the paper: max(8, C / 32)). Throws heed::Error
/// for shapes that do not fit and a map without positions. Reads x three times and writes it once; O(B (h + w) C m)
/// beside that. The same bits for any number of threads. Source: Hou et al. 2021.
template <Real T>
struct CoordinateAttention {
  ConvChannels<T> conv1 = {};
  BatchNorm<T> bn = {};
  ConvChannels<T> conv_h = {}, conv_w = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "conv1.", conv1, "bn.", bn, "conv_h.", conv_h, "conv_w.", conv_w);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    require_parameter(kName, "conv1.weight", conv1.weight, {-1, sizes[1]});
    require_parameter(kName, "conv_h.weight", conv_h.weight, {sizes[1], conv1.weight.dimension(0)});
    require_parameter(kName, "conv_w.weight", conv_w.weight, {sizes[1], conv1.weight.dimension(0)});
    const auto row_means = mean(device, x, {3});
    const auto column_means = mean(device, x, {2});
    const auto strip = concat<2>(device, row_means, view(column_means).permute({0, 1, 3, 2}));
    const auto hidden = conv1(device, strip);
    const auto normal = bn(device, hidden);
    const auto f = activate(device, HardSwish(), normal);
    const auto row_logits = conv_h(device, view(f).slice(2, 0, sizes[2]));
    const auto column_logits = conv_w(device, view(f).slice(2, sizes[2], sizes[3]));
    const auto row_factors = sigmoid(device, row_logits);
    const auto column_factors = sigmoid(device, column_logits);
    return gate(device, x, row_factors, view(column_factors).permute({0, 1, 3, 2}));
  }

 private:
  static constexpr std::string_view kName = "coordinate_attention";
};

}  // namespace heed::inline HEED_ISA
