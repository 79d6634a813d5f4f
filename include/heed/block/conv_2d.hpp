// SPDX-License-Identifier: Apache-2.0
// conv_2d: convolution of feature maps, dense, grouped or depthwise.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"
#include "heed/kernel/contiguous.hpp"
#include "heed/kernel/depthwise_2d.hpp"

namespace heed::inline HEED_ISA {

/// How a convolution steps over its map, rows first.
struct ConvOptions {
  std::array<Index, 2> stride{1, 1};    ///< positions between outputs, 1 or more
  std::array<Index, 2> padding{0, 0};   ///< zeros on either side
  std::array<Index, 2> dilation{1, 1};  ///< positions between taps, 1 or more
  Index groups = 1;                     ///< divides the channels of the input and of the output

  /// A kernel of odd size whose output is as large as its input: padding dilation * (k / 2).
  static ConvOptions same(Index kernel_size, Index groups = 1, Index stride = 1, Index dilation = 1) {
    const Index padding = dilation * (kernel_size / 2);
    return {{stride, stride}, {padding, padding}, {dilation, dilation}, groups};
  }
};

namespace detail {

inline kernel::ConvolutionSteps convolution_steps(const ConvOptions& options) {
  return {options.stride, options.padding, options.dilation};
}

inline void check_conv_options(std::string_view where, const ConvOptions& options) {
  for (std::size_t axis = 0; axis < 2; ++axis)
    require(options.stride[axis] > 0 && options.dilation[axis] > 0 && options.padding[axis] >= 0, where,
            "stride and dilation must be 1 or more and padding 0 or more, got ", shape_text(options.stride), ", ",
            shape_text(options.dilation), " and ", shape_text(options.padding));
  require(options.groups > 0, where, "groups must be 1 or more, got ", options.groups);
}

inline std::array<Index, 4> conv_2d_sizes(const std::array<Index, 4>& x, const std::array<Index, 4>& weight, Index bias,
                                          const ConvOptions& options) {
  constexpr std::string_view where = "conv_2d";
  check_conv_options(where, options);
  require(weight[0] % options.groups == 0 && weight[1] * options.groups == x[1], where,
          "weight must have shape (Co, Ci / groups, kh, kw) with Ci = ", x[1], " and groups = ", options.groups,
          " dividing Co, got ", shape_text(weight));
  require(bias == 0 || bias == weight[0], where, "bias must be empty or have shape (", weight[0], "), got (", bias,
          ")");
  std::array<Index, 4> sizes{x[0], weight[0], 0, 0};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const Index reach = options.dilation[axis] * (weight[axis + 2] - 1) + 1;
    const Index room = x[axis + 2] + 2 * options.padding[axis] - reach;
    require(weight[axis + 2] > 0 && x[axis + 2] > 0 && room >= 0, where, "a kernel that spans ", reach,
            " positions does not fit on ", x[axis + 2], " with a padding of ", options.padding[axis]);
    sizes[axis + 2] = room / options.stride[axis] + 1;
  }
  return sizes;
}

inline kernel::Taps make_taps(ScratchFrame& frame, Index kh, Index kw, const ConvOptions& options) {
  Index* const rows = frame.take<Index>(kh * kw);
  Index* const columns = frame.take<Index>(kh * kw);
  for (Index t = 0; t < kh * kw; ++t) {
    rows[t] = t / kw * options.dilation[0] - options.padding[0];
    columns[t] = t % kw * options.dilation[1] - options.padding[1];
  }
  return {options.stride, rows, columns, kh * kw};
}

}  // namespace detail

/// out(b, o, i, j) = bias(o) + sum over the channels c of o's group and the taps (u, v) of
/// weight(o, c, u, v) x(b, c, i stride - padding + u dilation, j stride - padding + v dilation), 0 outside of the map:
/// the cross-correlation of deep learning, whose kernel is not flipped.
///
/// x (B, Ci, h, w), weight (Co, Ci / groups, kh, kw), bias (Co) or empty, out (B, Co, h', w') with
/// h' = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1, and w' likewise. Any strides and storage; out has
/// x's type. Throws heed::Error for shapes and options that do not fit, an empty map included. Dense kernels run as
/// products of packed tiles, those of one channel per group directly; time O(B Co h' w' Ci / groups kh kw), scratch of
/// one tile, or one padded plane, a thread. The same bits for any batch and number of threads.
///
/// Gradient: of x, weight and bias, conv_2d_backward.
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike O>
void conv_2d(const D& device, const X& x, const W& weight, const B& bias, const ConvOptions& options, O&& out) {
  static_assert(kRankOf<X> == 4 && kRankOf<W> == 4 && kRankOf<B> == 1 && kRankOf<O> == 4,
                "heed::conv_2d: x is (B, Ci, h, w), weight (Co, Ci / groups, kh, kw), bias (Co), out (B, Co, h', w')");
  using T = Compute<ScalarOf<X>>;
  static_assert(std::same_as<T, Compute<ScalarOf<W>>> && std::same_as<T, Compute<ScalarOf<O>>>,
                "heed::conv_2d: double goes with double only");
  const auto input = const_view(x);
  const auto w = const_view(weight);
  const auto target = view(out);
  require_shape("conv_2d", "out", target.sizes,
                detail::conv_2d_sizes(input.sizes, w.sizes, const_view(bias).size(0), options));
  ScratchFrame frame;
  const T* const weights = kernel::contiguous_values<T>(frame, w);
  const T* const biases = kernel::optional_values<T>(frame, const_view(bias));
  if (w.size(1) == 1) {
    kernel::depthwise<T>(device, input, weights, biases, w.size(2), w.size(3), detail::convolution_steps(options),
                         target);
  } else {
    kernel::convolve<kernel::Write::kAssign, T>(device, input, weights, biases,
                                                detail::make_taps(frame, w.size(2), w.size(3), options), options.groups,
                                                target);
  }
}
template <Device D, Operand X, Operand W, Operand B>
auto conv_2d(const D& device, const X& x, const W& weight, const B& bias, const ConvOptions& options = {}) {
  const auto sizes = detail::conv_2d_sizes(sizes_of(x), sizes_of(weight), sizes_of(bias)[0], options);
  auto out = make_output<OperandScalar<X>, 4>("conv_2d", sizes, x, weight, bias);
  conv_2d(device, x, weight, bias, options, out);
  return out;
}
template <Operand X, Operand W, Operand B>
auto conv_2d(const X& x, const W& weight, const B& bias, const ConvOptions& options = {}) {
  return conv_2d(DeviceRef(), x, weight, bias, options);
}

/// The gradients of conv_2d, added to d_x, d_weight and d_bias of the shapes of x, weight and bias; a d_ view of null
/// data is not wanted. The same bits for any number of threads. Each of d_x and d_weight costs as much as the forward.
template <Device D, Real T>
void conv_2d_backward(const D& device, const View<const T, 4>& x, const View<const T, 4>& weight,
                      const ConvOptions& options, const View<const T, 4>& d_out, const View<T, 4>& d_x,
                      const View<T, 4>& d_weight, const View<T, 1>& d_bias) {
  if (d_out.count() == 0) return;
  ScratchFrame frame;
  const kernel::ConvolutionSteps steps = detail::convolution_steps(options);
  if (weight.size(1) == 1) {
    kernel::depthwise_backward<T>(device, x, kernel::contiguous_values<T>(frame, weight), steps, d_out, d_x, d_weight,
                                  weight.size(2), weight.size(3));
  } else {
    const View<const T, 4> incoming(kernel::contiguous_values<T>(frame, d_out), d_out.sizes);
    if (d_x.data)
      kernel::convolve_transposed<kernel::Write::kAdd, T>(device, incoming, weight, nullptr, steps, options.groups,
                                                          d_x);
    if (d_weight.data)
      kernel::convolve_weights<T>(device, x, incoming,
                                  detail::make_taps(frame, weight.size(2), weight.size(3), options), options.groups,
                                  d_weight);
  }
  if (d_bias.data)
    kernel::copy<kernel::Write::kAdd>(device, d_out, View<T, 4>(d_bias.data, d_out.sizes, {0, d_bias.stride(0), 0, 0}));
}

/// A convolution layer: weight (Co, Ci / groups, kh, kw), bias (Co) or empty.
template <Storage T>
struct Conv2d {
  Tensor<T, 4> weight = {};
  Tensor<T, 1> bias = {};
  ConvOptions options = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return conv_2d(x, weight, bias, options);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return conv_2d(device, x, weight, bias, options);
  }
};

}  // namespace heed::inline HEED_ISA
