// SPDX-License-Identifier: Apache-2.0
// batch_norm: channels shifted and scaled by stored statistics.
#pragma once

#include <cmath>

#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// A vector over axis 1 as a tensor of the shape of a map.
template <class T, int Rank>
View<T, Rank> over_channels(T* data, Index stride, const std::array<Index, std::size_t(Rank)>& sizes) {
  std::array<Index, std::size_t(Rank)> strides{};
  strides[1] = stride;
  return {data, sizes, strides};
}

inline void check_channels(std::string_view where, std::string_view name, Index size, Index channels, bool may_lack) {
  require(size == channels || (may_lack && size == 0), where, name, " must have shape (", channels,
          "), the channels of x,", may_lack ? " or be empty," : "", " got (", size, ")");
}

template <class X, class W, class B, class M, class V>
void check_batch_norm(const X& x, const W& weight, const B& bias, const M& mean, const V& var, double eps) {
  constexpr std::string_view where = "batch_norm";
  static_assert(kOperandRank<X> >= 2, "heed::batch_norm: x is (B, C, ...)");
  const Index channels = sizes_of(x)[1];
  check_channels(where, "weight", sizes_of(weight)[0], channels, true);
  check_channels(where, "bias", sizes_of(bias)[0], channels, true);
  check_channels(where, "mean", sizes_of(mean)[0], channels, false);
  check_channels(where, "var", sizes_of(var)[0], channels, false);
  require(std::isfinite(eps) && eps >= 0, where, "eps must be 0 or positive and finite, got ", eps);
}

// 1 / sqrt(var + eps), contiguous.
template <Real T, class UV>
T* inverse_deviation(ScratchFrame& frame, const View<const UV, 1>& var, double eps) {
  T* const inverse = frame.take<T>(var.size(0));
  for (Index c = 0; c < var.size(0); ++c) inverse[c] = T(1) / std::sqrt(simd::widen<T>(var(c)) + T(eps));
  return inverse;
}

}  // namespace detail

/// out = (x - mean) / sqrt(var + eps) * weight + bias over axis 1, with stored statistics (that of inference):
/// x (B, C, ...), weight and bias (C) or empty, mean and var (C), out as x.
///
/// Any rank from 2, strides and storage; out may be x. Throws heed::Error for shapes that do not fit. Time O(x); the
/// same bits for any device. Gradient: of x, weight and bias, batch_norm_backward; mean and var have none.
/// Source: Ioffe and Szegedy 2015.
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike M, TensorLike V, TensorLike O>
void batch_norm(const D& device, const X& x, const W& weight, const B& bias, const M& mean, const V& var, double eps,
                O&& out) {
  using T = Compute<ScalarOf<X>>;
  constexpr int rank = kRankOf<X>;
  detail::check_batch_norm(x, weight, bias, mean, var, eps);
  const auto input = const_view(x);
  require_shape("batch_norm", "out", view(out).sizes, input.sizes);
  const Index channels = input.size(1);
  const auto w = const_view(weight);
  const auto shift = const_view(bias);
  const auto centre = const_view(mean);
  ScratchFrame frame;
  T* const scales = detail::inverse_deviation<T>(frame, const_view(var), eps);
  T* const shifts = frame.take<T>(channels);
  for (Index c = 0; c < channels; ++c) {
    if (w.size(0) > 0) scales[c] *= simd::widen<T>(w(c));
    shifts[c] = (shift.size(0) > 0 ? simd::widen<T>(shift(c)) : T(0)) - simd::widen<T>(centre(c)) * scales[c];
  }
  kernel::elementwise<kernel::Write::kAssign, T>(
      device, [](auto v, auto s, auto b) { return simd::fma(v, s, b); }, view(out), input,
      detail::over_channels<const T, rank>(scales, 1, input.sizes),
      detail::over_channels<const T, rank>(shifts, 1, input.sizes));
}
template <Device D, Operand X, Operand W, Operand B, Operand M, Operand V>
auto batch_norm(const D& device, const X& x, const W& weight, const B& bias, const M& mean, const V& var,
                double eps = 1e-5) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("batch_norm", sizes_of(x), x, weight, bias);
  batch_norm(device, x, weight, bias, mean, var, eps, out);
  return out;
}
template <Operand X, Operand W, Operand B, Operand M, Operand V>
auto batch_norm(const X& x, const W& weight, const B& bias, const M& mean, const V& var, double eps = 1e-5) {
  return batch_norm(DeviceRef(), x, weight, bias, mean, var, eps);
}

/// The gradients of batch_norm, added to d_x, d_weight and d_bias; a view of null data is not wanted.
template <Device D, Real T, int Rank>
void batch_norm_backward(const D& device, const View<const T, Rank>& x, const View<const T, 1>& weight,
                         const View<const T, 1>& mean, const View<const T, 1>& var, double eps,
                         const View<const T, Rank>& d_out, const View<T, Rank>& d_x, const View<T, 1>& d_weight,
                         const View<T, 1>& d_bias) {
  if (d_out.count() == 0) return;
  ScratchFrame frame;
  T* const inverse = detail::inverse_deviation<T>(frame, var, eps);
  T* const scales = frame.take<T>(x.size(1));
  for (Index c = 0; c < x.size(1); ++c) scales[c] = weight.size(0) > 0 ? inverse[c] * weight(c) : inverse[c];
  const auto over = [&](const T* values, Index stride) {
    return detail::over_channels<const T, Rank>(values, stride, x.sizes);
  };
  if (d_x.data)
    kernel::elementwise<kernel::Write::kAdd, T>(
        device, [](auto d, auto s) { return d * s; }, d_x, d_out, over(scales, 1));
  if (d_weight.data)
    kernel::elementwise<kernel::Write::kAdd, T>(
        device, [](auto d, auto v, auto m, auto s) { return d * ((v - m) * s); },
        detail::over_channels<T, Rank>(d_weight.data, d_weight.stride(0), x.sizes), d_out, x,
        over(mean.data, mean.stride(0)), over(inverse, 1));
  if (d_bias.data)
    kernel::copy<kernel::Write::kAdd>(device, d_out,
                                      detail::over_channels<T, Rank>(d_bias.data, d_bias.stride(0), x.sizes));
}

/// The layer, of stored statistics: weight and bias (C) or empty, mean and var (C).
template <Storage T>
struct BatchNorm {
  Tensor<T, 1> weight = {};
  Tensor<T, 1> bias = {};
  Tensor<T, 1> mean = {};
  Tensor<T, 1> var = {};
  double eps = 1e-5;

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight, heed::optional);
    f("bias", bias, heed::optional);
    f("mean", mean);
    f("var", var);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return batch_norm(x, weight, bias, mean, var, eps);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return batch_norm(device, x, weight, bias, mean, var, eps);
  }
};

}  // namespace heed::inline HEED_ISA
