// SPDX-License-Identifier: Apache-2.0
// conv_transpose_2d: the convolution that enlarges a map.
#pragma once

#include "heed/block/conv_2d.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline std::array<Index, 4> conv_transpose_2d_sizes(const std::array<Index, 4>& x, const std::array<Index, 4>& weight,
                                                    Index bias, const ConvOptions& options,
                                                    const std::array<Index, 2>& output_padding) {
  constexpr std::string_view where = "conv_transpose_2d";
  check_conv_options(where, options);
  require(weight[0] == x[1] && weight[0] % options.groups == 0, where,
          "weight must have shape (Ci, Co / groups, kh, kw) with Ci = ", x[1],
          ", a multiple of groups = ", options.groups, ", got ", shape_text(weight));
  std::array<Index, 4> sizes{x[0], weight[1] * options.groups, 0, 0};
  require(bias == 0 || bias == sizes[1], where, "bias must be empty or have shape (", sizes[1], "), got (", bias, ")");
  for (std::size_t axis = 0; axis < 2; ++axis) {
    require(output_padding[axis] >= 0 && output_padding[axis] < std::max(options.stride[axis], options.dilation[axis]),
            where, "output_padding must be 0 or more and less than the stride or the dilation, got ",
            shape_text(output_padding));
    sizes[axis + 2] = (x[axis + 2] - 1) * options.stride[axis] - 2 * options.padding[axis] +
                      options.dilation[axis] * (weight[axis + 2] - 1) + output_padding[axis] + 1;
    require(x[axis + 2] > 0 && weight[axis + 2] > 0 && sizes[axis + 2] > 0, where, "no output is left of ", x[axis + 2],
            " positions and a kernel of ", weight[axis + 2], " with a padding of ", options.padding[axis]);
  }
  return sizes;
}

}  // namespace detail

/// The transpose of conv_2d: out(b, o, y, x') = bias(o) + the sum over the channels c of o's group, the taps (u, v) and
/// the positions (i, j) with i stride - padding + u dilation = y, and likewise x', of weight(c, o, u, v) x(b, c, i, j).
///
/// x (B, Ci, h, w), weight (Ci, Co / groups, kh, kw), bias (Co) or empty, out (B, Co, h', w') with
/// h' = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. Any strides and storage. Throws
/// heed::Error for shapes and options that do not fit. Time O(B Ci h w Co / groups kh kw); the same bits for any number
/// of threads.
///
/// Gradient: of x, weight and bias, conv_transpose_2d_backward.
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike O>
void conv_transpose_2d(const D& device, const X& x, const W& weight, const B& bias, const ConvOptions& options,
                       const std::array<Index, 2>& output_padding, O&& out) {
  using T = Compute<ScalarOf<X>>;
  const auto input = const_view(x);
  const auto w = const_view(weight);
  const auto target = view(out);
  require_shape(
      "conv_transpose_2d", "out", target.sizes,
      detail::conv_transpose_2d_sizes(input.sizes, w.sizes, const_view(bias).size(0), options, output_padding));
  ScratchFrame frame;
  kernel::convolve_transposed<kernel::Write::kAssign, T>(device, input, w,
                                                         kernel::optional_values<T>(frame, const_view(bias)),
                                                         detail::convolution_steps(options), options.groups, target);
}
template <Device D, Operand X, Operand W, Operand B>
auto conv_transpose_2d(const D& device, const X& x, const W& weight, const B& bias, const ConvOptions& options = {},
                       const std::array<Index, 2>& output_padding = {0, 0}) {
  const auto sizes =
      detail::conv_transpose_2d_sizes(sizes_of(x), sizes_of(weight), sizes_of(bias)[0], options, output_padding);
  auto out = make_output<OperandScalar<X>, 4>("conv_transpose_2d", sizes, x, weight, bias);
  conv_transpose_2d(device, x, weight, bias, options, output_padding, out);
  return out;
}
template <Operand X, Operand W, Operand B>
auto conv_transpose_2d(const X& x, const W& weight, const B& bias, const ConvOptions& options = {},
                       const std::array<Index, 2>& output_padding = {0, 0}) {
  return conv_transpose_2d(DeviceRef(), x, weight, bias, options, output_padding);
}

/// The gradients of conv_transpose_2d, added; a d_ view of null data is not wanted. That of x is a conv_2d of d_out.
template <Device D, Real T>
void conv_transpose_2d_backward(const D& device, const View<const T, 4>& x, const View<const T, 4>& weight,
                                const ConvOptions& options, const View<const T, 4>& d_out, const View<T, 4>& d_x,
                                const View<T, 4>& d_weight, const View<T, 1>& d_bias) {
  if (d_out.count() == 0) return;
  ScratchFrame frame;
  const kernel::Taps taps = detail::make_taps(frame, weight.size(2), weight.size(3), options);
  if (d_x.data)
    kernel::convolve<kernel::Write::kAdd, T>(device, d_out, kernel::contiguous_values<T>(frame, weight),
                                             static_cast<const T*>(nullptr), taps, options.groups, d_x);
  if (d_weight.data)
    kernel::convolve_weights<T>(device, d_out, View<const T, 4>(kernel::contiguous_values<T>(frame, x), x.sizes), taps,
                                options.groups, d_weight);
  if (d_bias.data)
    kernel::copy<kernel::Write::kAdd>(device, d_out, View<T, 4>(d_bias.data, d_out.sizes, {0, d_bias.stride(0), 0, 0}));
}

/// A transposed convolution layer: weight (Ci, Co / groups, kh, kw), bias (Co) or empty.
template <Storage T>
struct ConvTranspose2d {
  Tensor<T, 4> weight = {};
  Tensor<T, 1> bias = {};
  ConvOptions options = {};
  std::array<Index, 2> output_padding{0, 0};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return conv_transpose_2d(x, weight, bias, options, output_padding);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return conv_transpose_2d(device, x, weight, bias, options, output_padding);
  }
};

}  // namespace heed::inline HEED_ISA
