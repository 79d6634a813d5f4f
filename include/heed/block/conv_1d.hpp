// SPDX-License-Identifier: Apache-2.0
// conv_1d and conv_channels: the thin forms of conv_2d, along tokens and across the channels of each position.
#pragma once

#include "heed/block/conv_2d.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// How a convolution steps along its tokens.
struct Conv1dOptions {
  Index stride = 1;    ///< 1 or more
  Index padding = 0;   ///< zeros on either side
  Index dilation = 1;  ///< 1 or more
  Index groups = 1;    ///< divides the channels of the input and of the output

  /// A kernel of odd size whose output is as long as its input: padding dilation * (k / 2).
  static Conv1dOptions same(Index kernel_size, Index groups = 1, Index stride = 1, Index dilation = 1) {
    return {stride, dilation * (kernel_size / 2), dilation, groups};
  }
  operator ConvOptions() const { return {{1, stride}, {0, padding}, {1, dilation}, groups}; }
};

/// out(b, o, i) = bias(o) + sum over the channels c of o's group and the taps u of
/// weight(o, c, u) x(b, c, i stride - padding + u dilation), 0 outside.
///
/// x (B, Ci, N), weight (Co, Ci / groups, k), bias (Co) or empty, out (B, Co, N'); all else as conv_2d.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X, Operand W, Operand B>
auto conv_1d(const D& device, const X& x, const W& weight, const B& bias, const Conv1dOptions& options = {}) {
  static_assert(kOperandRank<X> == 3 && kOperandRank<W> == 3,
                "heed::conv_1d: x is (B, Ci, N) and weight (Co, Ci / groups, k)");
  require(sizes_of(x)[2] > 0 && sizes_of(weight)[2] > 0, "conv_1d", "x and weight must have elements, got ",
          shape_text(sizes_of(x)), " and ", shape_text(sizes_of(weight)));
  const auto row = view(x).split(2, sizes_of(x)[2]);
  const auto kernel = view(weight).split(2, sizes_of(weight)[2]);
  if constexpr (AnyRecorded<X, W, B>) {
    return conv_2d(device, row, kernel, bias, options).select(2, 0);
  } else {
    const auto sizes = detail::conv_2d_sizes(row.sizes, kernel.sizes, const_view(bias).size(0), options);
    Tensor<ScalarOf<X>, 3> out(sizes[0], sizes[1], sizes[3]);
    conv_2d(device, row, kernel, bias, options, View<ScalarOf<X>, 4>(out.data(), sizes));
    return out;
  }
}
template <Operand X, Operand W, Operand B>
auto conv_1d(const X& x, const W& weight, const B& bias, const Conv1dOptions& options = {}) {
  return conv_1d(DeviceRef(), x, weight, bias, options);
}

/// out(b, o, i, j) = bias(o) + sum over c of weight(o, c) x(b, c, i, j): linear over the channels of a map (B, Ci, h,
/// w) or of (B, Ci, N), as conv_2d with a kernel of one position; of a single position, as linear.
template <Device D, Operand X, Operand W, Operand B>
auto conv_channels(const D& device, const X& x, const W& weight, const B& bias) {
  static_assert((kOperandRank<X> == 3 || kOperandRank<X> == 4) && kOperandRank<W> == 2,
                "heed::conv_channels: x is (B, Ci, h, w) or (B, Ci, N), and weight (Co, Ci)");
  if constexpr (kOperandRank<X> == 3) {
    return conv_1d(device, x, view(weight).split(1, 1), bias);
  } else {
    const auto sizes = sizes_of(x);
    const auto kernel = view(weight).split(1, 1).split(2, 1);
    const auto vectors = [](const auto& map) { return map.select(3, 0).select(2, 0); };
    if constexpr (AnyRecorded<X, W, B>) {
      if (sizes[2] * sizes[3] != 1) return conv_2d(device, x, kernel, bias);
      return linear(device, vectors(view(x)), weight, bias).split(1, 1).split(2, 1);
    } else {
      Tensor<ScalarOf<X>, 4> out(sizes[0], sizes_of(weight)[0], sizes[2], sizes[3]);
      if (sizes[2] * sizes[3] == 1) {
        linear(device, vectors(const_view(x)), weight, bias, vectors(view(out)));
      } else {
        conv_2d(device, x, kernel, bias, ConvOptions(), out);
      }
      return out;
    }
  }
}
template <Operand X, Operand W, Operand B>
auto conv_channels(const X& x, const W& weight, const B& bias) {
  return conv_channels(DeviceRef(), x, weight, bias);
}

/// A layer along tokens: weight (Co, Ci / groups, k), bias (Co) or empty.
template <Storage T>
struct Conv1d {
  Tensor<T, 3> weight = {};
  Tensor<T, 1> bias = {};
  Conv1dOptions options = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return conv_1d(x, weight, bias, options);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return conv_1d(device, x, weight, bias, options);
  }
};

/// A layer across channels: weight (Co, Ci), bias (Co) or empty.
template <Storage T>
struct ConvChannels {
  Tensor<T, 2> weight = {};
  Tensor<T, 1> bias = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return conv_channels(x, weight, bias);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return conv_channels(device, x, weight, bias);
  }
};

}  // namespace heed::inline HEED_ISA
