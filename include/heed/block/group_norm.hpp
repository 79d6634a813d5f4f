// SPDX-License-Identifier: Apache-2.0
// group_norm: groups of channels of a map brought to mean 0 and variance 1, and layer_norm over the channels.
#pragma once

#include "heed/block/batch_norm.hpp"
#include "heed/block/normalize.hpp"
#include "heed/kernel/contiguous.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <class X, class W, class B>
void check_group_norm(const X& x, Index groups, const W& weight, const B& bias, double eps) {
  constexpr std::string_view where = "group_norm";
  static_assert(kOperandRank<X> >= 2, "heed::group_norm: x is (B, C, ...)");
  const Index channels = sizes_of(x)[1];
  require(groups > 0 && channels % groups == 0, where, "groups must divide the ", channels, " channels of x, got ",
          groups);
  check_channels(where, "weight", sizes_of(weight)[0], channels, true);
  check_channels(where, "bias", sizes_of(bias)[0], channels, true);
  require(std::isfinite(eps) && eps >= 0, where, "eps must be 0 or positive and finite, got ", eps);
}

/// Group g of image b.
template <class U, int Rank>
View<U, Rank - 1> group_of(const View<U, Rank>& x, Index groups, Index unit) {
  const Index channels = x.size(1) / groups;
  return x.select(0, unit / groups).slice(0, unit % groups * channels, channels);
}

}  // namespace detail

/// out = (x - mean) / sqrt(variance + eps) * weight + bias, with the mean and the variance (of all, not of a sample)
/// over the channels of a group and all positions: x (B, C, ...), weight and bias (C) or empty, out as x.
///
/// Group g holds channels g C / groups to (g + 1) C / groups. Any rank from 2, strides and storage; out may be x.
/// Throws heed::Error for shapes that do not fit. Time O(x), two passes over a group; a group has the same bits in any
/// batch and for any device. Gradient: of x, weight and bias, group_norm_backward. Source: Wu and He 2018.
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike O>
void group_norm(const D& device, const X& x, Index groups, const W& weight, const B& bias, double eps, O&& out) {
  using T = Compute<ScalarOf<X>>;
  detail::check_group_norm(x, groups, weight, bias, eps);
  const auto input = const_view(x);
  const auto target = view(out);
  require_shape("group_norm", "out", target.sizes, input.sizes);
  if (input.count() == 0) return;
  ScratchFrame shared;
  const T* const w = kernel::optional_values<T>(shared, const_view(weight));
  const T* const shift = kernel::optional_values<T>(shared, const_view(bias));
  const Index channels = input.size(1) / groups, count = input.count() / input.size(0) / groups;
  const Index positions = count / channels;
  parallel_for(device, input.size(0) * groups, [&](Index unit) {
    ScratchFrame frame;
    const T* const values = kernel::contiguous_values<T>(frame, detail::group_of(input, groups, unit));
    const auto to = detail::group_of(target, groups, unit);
    T* made = nullptr;
    if constexpr (std::same_as<T, ScalarOf<O>>)
      if (to.is_contiguous()) made = to.data;
    const bool in_place = made != nullptr;
    if (!in_place) made = frame.take<T>(count);
    const auto by = kernel::row_scale<kernel::RowNorm::kDeviation, T>(values, count, T(eps));
    for (Index c = 0; c < channels; ++c) {
      const Index channel = unit % groups * channels + c;
      const simd::Batch<T> mean(by.mean), scale(w ? by.scale * w[channel] : by.scale);
      const simd::Batch<T> offset(shift ? shift[channel] : T(0));
      kernel::for_lanes<T>(positions, [&](Index i, auto lanes) {
        const simd::Batch<T> centred = kernel::load_lanes<T>(values + c * positions + i, lanes) - mean;
        simd::store_partial<T>(simd::fma(centred, scale, offset), made + c * positions + i, lanes);
      });
    }
    if (!in_place)
      kernel::copy<kernel::Write::kAssign>(Eigen::DefaultDevice(), View<const T, kRankOf<X> - 1>(made, to.sizes), to);
  });
}
template <Device D, Operand X, Operand W, Operand B>
auto group_norm(const D& device, const X& x, Index groups, const W& weight, const B& bias, double eps = 1e-5) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("group_norm", sizes_of(x), x, weight, bias);
  group_norm(device, x, groups, weight, bias, eps, out);
  return out;
}
template <Operand X, Operand W, Operand B>
auto group_norm(const X& x, Index groups, const W& weight, const B& bias, double eps = 1e-5) {
  return group_norm(DeviceRef(), x, groups, weight, bias, eps);
}

/// The gradients of group_norm, added to d_x, d_weight and d_bias; a view of null data is not wanted. The sums of an
/// image are joined in the order of the batch. With n the normalised values and g = d_out * weight,
/// d_x = (g - mean(g) - n * mean(g * n)) / sqrt(variance + eps).
template <Device D, Real T, int Rank>
void group_norm_backward(const D& device, const View<const T, Rank>& x, Index groups, const View<const T, 1>& weight,
                         double eps, const View<const T, Rank>& d_out, const View<T, Rank>& d_x,
                         const View<T, 1>& d_weight, const View<T, 1>& d_bias) {
  using simd::Batch;
  if (d_out.count() == 0) return;
  ScratchFrame shared;
  const T* const w = kernel::optional_values<T>(shared, weight);
  const Index all = x.size(1), channels = all / groups, count = x.count() / x.size(0) / groups;
  const Index positions = count / channels;
  T* const along = shared.take<T>(x.size(0) * all);     // per image and channel, the sum of d_out * n
  T* const straight = shared.take<T>(x.size(0) * all);  // and of d_out
  parallel_for(device, x.size(0) * groups, [&](Index unit) {
    ScratchFrame frame;
    const T* const values = kernel::contiguous_values<T>(frame, detail::group_of(x, groups, unit));
    const T* const incoming = kernel::contiguous_values<T>(frame, detail::group_of(d_out, groups, unit));
    const auto by = kernel::row_scale<kernel::RowNorm::kDeviation, T>(values, count, T(eps));
    const Batch<T> mean(by.mean), scale(by.scale);
    const Index first = unit / groups * all + unit % groups * channels;
    T shift = 0, slope = 0;
    for (Index c = 0; c < channels; ++c) {
      const T* const v = values + c * positions;
      const T* const d = incoming + c * positions;
      along[first + c] = kernel::detail::sum_lanes<T>(positions, [&](Index i, auto lanes) {
        return kernel::load_lanes<T>(d + i, lanes) * ((kernel::load_lanes<T>(v + i, lanes) - mean) * scale);
      });
      straight[first + c] = kernel::detail::sum_lanes<T>(
          positions, [&](Index i, auto lanes) { return kernel::load_lanes<T>(d + i, lanes); });
      const T by_weight = w ? w[first % all + c] : T(1);
      shift += by_weight * straight[first + c];
      slope += by_weight * along[first + c];
    }
    if (!d_x.data) return;
    const Batch<T> common(shift / T(count)), tilt(slope / T(count));
    T* const made = frame.take<T>(count);
    for (Index c = 0; c < channels; ++c) {
      const Batch<T> by_weight(w ? w[first % all + c] : T(1));
      kernel::for_lanes<T>(positions, [&](Index i, auto lanes) {
        const Index at = c * positions + i;
        const Batch<T> n = (kernel::load_lanes<T>(values + at, lanes) - mean) * scale;
        const Batch<T> g = kernel::load_lanes<T>(incoming + at, lanes) * by_weight;
        simd::store_partial<T>((g - common - n * tilt) * scale, made + at, lanes);
      });
    }
    const auto to = detail::group_of(d_x, groups, unit);
    kernel::copy<kernel::Write::kAdd>(Eigen::DefaultDevice(), View<const T, Rank - 1>(made, to.sizes), to);
  });
  kernel::add_bands<T>(along, x.size(0), d_weight);
  kernel::add_bands<T>(straight, x.size(0), d_bias);
}

/// layer_norm over the channels at each position of x (B, C, ...): weight and bias (C) or empty. The result has x's
/// shape, channels last in memory. Gradients as of layer_norm.
template <Device D, Operand X, Operand W, Operand B>
auto layer_norm_channels(const D& device, const X& x, const W& weight, const B& bias, double eps = 1e-5) {
  constexpr int rank = kOperandRank<X>;
  static_assert(rank >= 2, "heed::layer_norm_channels: x is (B, C, ...)");
  std::array<int, std::size_t(rank)> last{0}, back{0, rank - 1};
  for (int axis = 1; axis < rank; ++axis) last[std::size_t(axis)] = axis % (rank - 1) + 1;
  for (int axis = 2; axis < rank; ++axis) back[std::size_t(axis)] = axis - 1;
  if constexpr (AnyRecorded<X, W, B>) {
    return layer_norm(device, view(x).permute(last), weight, bias, eps).permute(back);
  } else {
    Tensor<ScalarOf<X>, rank> out(const_view(x).sizes);
    layer_norm(device, const_view(x).permute(last), weight, bias, eps, view(out).permute(last));
    return out;
  }
}
template <Operand X, Operand W, Operand B>
auto layer_norm_channels(const X& x, const W& weight, const B& bias, double eps = 1e-5) {
  return layer_norm_channels(DeviceRef(), x, weight, bias, eps);
}

/// The layer: weight and bias (C) or empty, normalised in `groups` groups of channels.
template <Storage T>
struct GroupNorm {
  Tensor<T, 1> weight = {};
  Tensor<T, 1> bias = {};
  Index groups = 1;
  double eps = 1e-5;

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight, heed::optional);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return group_norm(x, groups, weight, bias, eps);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return group_norm(device, x, groups, weight, bias, eps);
  }
};

}  // namespace heed::inline HEED_ISA
