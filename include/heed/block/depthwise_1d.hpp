// SPDX-License-Identifier: Apache-2.0
// depthwise_1d: a convolution along tokens with one filter per channel.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"
#include "heed/kernel/depthwise_1d.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// How a filter lies on the tokens.
struct DepthwiseOptions {
  Index left = 0;      ///< tokens of zeros before the first, 0 or more
  Index right = 0;     ///< and behind the last
  Index dilation = 1;  ///< tokens from tap to tap, 1 or more

  /// Output n reads tokens up to n: (kernel_size - 1) * dilation on the left.
  static DepthwiseOptions causal(Index kernel_size, Index dilation = 1) {
    return {.left = (kernel_size - 1) * dilation, .dilation = dilation};
  }
};

namespace detail {

inline constexpr Index kDepthwiseUnit = 16384;  // products that make a unit of work

template <std::size_t Rank>
std::array<Index, Rank> depthwise_sizes(std::array<Index, Rank> x, const std::array<Index, 2>& weight, Index bias,
                                        const DepthwiseOptions& o) {
  constexpr std::string_view where = "depthwise_1d";
  require(weight[0] == x[Rank - 1] && weight[1] > 0, where, "weight must have shape (D, K) with D = ", x[Rank - 1],
          ", the last axis of x, and K of 1 or more, got ", shape_text(weight));
  require(bias == 0 || bias == weight[0], where, "bias must be empty or have shape (", weight[0], "), got (", bias,
          ")");
  require(o.left >= 0 && o.right >= 0 && o.dilation > 0, where,
          "left and right must be 0 or more and dilation 1 or more, got ", o.left, ", ", o.right, " and ", o.dilation);
  x[Rank - 2] = std::max<Index>(0, x[Rank - 2] + o.left + o.right - (weight[1] - 1) * o.dilation);
  return x;
}

// Bands of rows of every matrix, one unit of work each. An output is made by one unit in one order.
template <kernel::Write write, Real T, class D, class U, class UO, int Rank>
void depthwise_rows(const D& device, const View<const U, Rank>& x, const kernel::DepthwiseFilters<T>& filters,
                    Index left, Index dilation, const View<UO, Rank>& out) {
  const Index rows = out.size(Rank - 2);
  const Index band = std::max<Index>(16, kDepthwiseUnit / (out.size(Rank - 1) * filters.count)),
              bands = (rows + band - 1) / band;
  Index matrices = 1;
  for (int axis = 0; axis < Rank - 2; ++axis) matrices *= out.size(axis);
  const auto matrix = [](const auto& all, Index index) {
    auto* at = all.data;
    for (int axis = Rank - 3; axis >= 0; --axis) {
      at += index % all.size(axis) * all.stride(axis);
      index /= all.size(axis);
    }
    using Element = std::remove_pointer_t<decltype(at)>;
    return View<Element, 2>(at, {all.size(Rank - 2), all.size(Rank - 1)}, {all.stride(Rank - 2), all.stride(Rank - 1)});
  };
  parallel_for(device, matrices * bands, [&](Index unit) {
    const Index first = unit % bands * band;
    kernel::depthwise_1d<write, T>(matrix(x, unit / bands), filters, left, dilation, matrix(out, unit / bands), first,
                                   std::min(rows, first + band));
  });
}

}  // namespace detail

/// out(.., n, d) = bias[d] + sum over c < K of weight[d, c] x(.., n + c * dilation - left, d), tokens outside of x
/// being 0: x (.., N, D), weight (D, K), bias (D) or empty, out (.., N', D) with N' = N + left + right - (K - 1) *
/// dilation, or 0 where that is negative. DepthwiseOptions::causal(K) pads on the left alone, so that N' = N and
/// nothing later is read.
///
/// Any rank from 2, strides and storage; the result has x's type. Throws heed::Error for shapes and options that do not
/// fit. Time O(tokens * D * K); the same bits for any batch and number of threads.
///
/// Gradient: of x, weight and bias, depthwise_1d_backward.
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike O>
void depthwise_1d(const D& device, const X& x, const W& weight, const B& bias, const DepthwiseOptions& options,
                  O&& out) {
  using T = Compute<ScalarOf<X>>;
  static_assert(kRankOf<X> >= 2 && kRankOf<W> == 2 && kRankOf<B> == 1 && std::same_as<ScalarOf<W>, ScalarOf<B>>,
                "heed::depthwise_1d: x is (.., N, D), weight (D, K) and bias (D) of one type");
  static_assert(std::same_as<T, Compute<ScalarOf<W>>>, "heed::depthwise_1d: double goes with double only");
  const auto w = const_view(weight);
  auto b = const_view(bias);
  const auto to = view(out);
  require_shape("depthwise_1d", "out", to.sizes,
                detail::depthwise_sizes(const_view(x).sizes, w.sizes, b.size(0), options));
  if (to.count() == 0) return;
  if (b.size(0) == 0) b.data = nullptr;
  ScratchFrame frame;
  detail::depthwise_rows<kernel::Write::kAssign, T>(
      device, const_view(x), kernel::pack_depthwise<T>(frame, w, b, false), options.left, options.dilation, to);
}
template <Device D, Operand X, Operand W, Operand B>
auto depthwise_1d(const D& device, const X& x, const W& weight, const B& bias, const DepthwiseOptions& options) {
  const auto sizes = detail::depthwise_sizes(sizes_of(x), sizes_of(weight), sizes_of(bias)[0], options);
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("depthwise_1d", sizes, x, weight, bias);
  depthwise_1d(device, x, weight, bias, options, out);
  return out;
}
template <Operand X, Operand W, Operand B>
auto depthwise_1d(const X& x, const W& weight, const B& bias, const DepthwiseOptions& options) {
  return depthwise_1d(DeviceRef(), x, weight, bias, options);
}

/// The gradients of depthwise_1d, added; one of null data is not wanted. That of x is the convolution of d_out with the
/// reversed filters; that of a tap is a sum over all tokens, in runs of 128, on one thread for each 256 channels.
template <Device D, Real T, int Rank>
void depthwise_1d_backward(const D& device, const View<const T, Rank>& x, const View<const T, 2>& weight,
                           const DepthwiseOptions& o, const View<const T, Rank>& d_out, const View<T, Rank>& d_x,
                           const View<T, 2>& d_weight, const View<T, 1>& d_bias) {
  constexpr int tokens = Rank - 2;
  if (d_out.count() == 0) return;
  const Index taps = weight.size(1);
  if (d_x.data && d_x.count() > 0) {
    ScratchFrame frame;
    detail::depthwise_rows<kernel::Write::kAdd, T>(device, d_out,
                                                   kernel::pack_depthwise<T>(frame, weight, View<const T, 1>(), true),
                                                   (taps - 1) * o.dilation - o.left, o.dilation, d_x);
  }
  if (d_weight.data)
    for (Index c = 0; c < taps; ++c) {
      // Outputs [first, last) read a token of x at this tap.
      const Index shift = c * o.dilation - o.left;
      const Index first = std::max<Index>(0, -shift), last = std::min(d_out.size(tokens), x.size(tokens) - shift);
      if (first >= last) continue;
      const auto d = d_out.slice(tokens, first, last - first);
      kernel::elementwise<kernel::Write::kAdd, T>(
          device, [](auto a, auto b) { return a * b; },
          d_weight.select(1, c).template promote<Rank>().broadcast(d.sizes, "depthwise_1d", "d_weight"), d,
          x.slice(tokens, first + shift, last - first));
    }
  if (d_bias.data)
    kernel::copy<kernel::Write::kAdd>(device, d_out,
                                      d_bias.template promote<Rank>().broadcast(d_out.sizes, "depthwise_1d", "d_bias"));
}

/// A causal depthwise convolution as a layer: weight (D, K), bias (D) or empty; out as x (.., N, D).
template <Storage T>
struct CausalDepthwise {
  Tensor<T, 2> weight = {};
  Tensor<T, 1> bias = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return depthwise_1d(device, x, weight, bias, DepthwiseOptions::causal(weight.dimension(1)));
  }
};

/// Throws heed::Error in the name of an operator unless its part `name` has filters for `channels` channels.
template <Storage T>
void check_depthwise(std::string_view where, std::string_view name, const CausalDepthwise<T>& layer, Index channels) {
  require(layer.weight.dimension(0) == channels && layer.weight.dimension(1) > 0, where, name,
          ".weight must have shape (", channels, ", K) with K of 1 or more, got ",
          shape_text(const_view(layer.weight).sizes));
  require(layer.bias.size() == 0 || layer.bias.size() == channels, where, name, ".bias must be empty or have shape (",
          channels, "), got (", layer.bias.size(), ")");
}

}  // namespace heed::inline HEED_ISA
