// SPDX-License-Identifier: Apache-2.0
// ela: efficient local attention, a gate of rows and one of columns from convolved strips.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/group_norm.hpp"

namespace heed::inline HEED_ISA {

/// out(b, c, i, j) = x(b, c, i, j) * g_h(b, c, i) * g_w(b, c, j), g = sigmoid(GroupNorm(conv(p))) of the strips p of
/// row means and of column means, the convolution with the padding that keeps the length.
///
/// x (B, C, h, w), out as x. Shared by both strips: conv.weight (C, C / groups, k), gn.{weight,bias} (C); or, where
/// those are empty, one of each for a strip: conv_h.weight, conv_w.weight, gn_h.{weight,bias}, gn_w.{weight,bias}. k is
/// odd; it and the groups of the convolution follow from the shapes. The norm takes a strip by itself; a strip of
/// length 1 in a group of one channel becomes 0, so that the gate is sigmoid(bias). The paper's sizes (k, groups,
/// num_groups): T (5, C, 32), B (7, C, 16), S (5, C / 8, 16), L (7, C / 8, 16). Throws heed::Error for shapes that do
/// not fit and a map without positions. Reads x three times and writes it once. The same bits for any number of
/// threads. Source: Xu and Wan 2024: a transcription, no code of the authors is published.
template <Real T>
struct Ela {
  struct Options {
    Index num_groups = 16;  ///< of the norm, divides C
    double eps = 1e-5;      ///< of the norm
  };
  /// The transform of a strip.
  struct Strip {
    Tensor<T, 3> conv_weight = {};
    Tensor<T, 1> weight = {};
    Tensor<T, 1> bias = {};
  };

  Options options = {};
  Strip shared = {}, rows = {}, columns = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("conv.weight", shared.conv_weight, heed::optional);
    f("gn.weight", shared.weight, heed::optional);
    f("gn.bias", shared.bias, heed::optional);
    f("conv_h.weight", rows.conv_weight, heed::optional);
    f("gn_h.weight", rows.weight, heed::optional);
    f("gn_h.bias", rows.bias, heed::optional);
    f("conv_w.weight", columns.conv_weight, heed::optional);
    f("gn_w.weight", columns.weight, heed::optional);
    f("gn_w.bias", columns.bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const bool share = shared.conv_weight.size() > 0;
    const auto row_means = mean(device, x, {3});
    const auto column_means = mean(device, x, {2});
    const auto g_h = factor(device, view(row_means).select(3, 0), share ? shared : rows);
    const auto g_w = factor(device, view(column_means).select(2, 0), share ? shared : columns);
    return gate(device, x, view(g_h).split(2, 1), view(g_w).split(2, sizes_of(x)[3]));
  }

 private:
  static constexpr std::string_view kName = "ela";

  template <Device D, Operand P>
  auto factor(const D& device, const P& strip, const Strip& by) const {
    const Index channels = sizes_of(strip)[1], inner = by.conv_weight.dimension(1), k = by.conv_weight.dimension(2);
    require_parameter(kName, "conv.weight", by.conv_weight, {channels, -1, -1});
    require(channels % inner == 0 && k % 2 == 1, kName,
            "conv.weight must have shape (C, C / groups, k) with C = ", channels, " and odd k, got ",
            shape_text(const_view(by.conv_weight).sizes));
    const auto mixed = conv_1d(device, strip, by.conv_weight, Tensor<T, 1>(), Conv1dOptions::same(k, channels / inner));
    const auto normal = group_norm(device, mixed, options.num_groups, by.weight, by.bias, options.eps);
    return sigmoid(device, normal);
  }
};

}  // namespace heed::inline HEED_ISA
