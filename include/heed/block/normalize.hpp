// SPDX-License-Identifier: Apache-2.0
// layer_norm and rms_norm: rows brought to one scale, with a learned weight.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"
#include "heed/kernel/normalize.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline constexpr Index kNormalizeUnit = 8192;  // elements that make a unit of work, a few microseconds

template <class UX, int Rank, class UW>
void check_normalize(std::string_view where, const View<const UX, Rank>& x, std::string_view name,
                     const View<UW, 1>& vector) {
  require(vector.size(0) == 0 || vector.size(0) == x.size(Rank - 1), where, name, " must be empty or have shape (",
          x.size(Rank - 1), "), the last axis of x, got (", vector.size(0), ")");
}

template <kernel::RowNorm kNorm, class D, class UX, int Rank, class UW, class UB, class UO>
void normalize_rows(std::string_view where, const D& device, const View<const UX, Rank>& x,
                    const View<const UW, 1>& weight, const View<const UB, 1>& bias, double eps,
                    const View<UO, Rank>& out) {
  using T = heed::Compute<UX>;
  check_normalize(where, x, "weight", weight);
  check_normalize(where, x, "bias", bias);
  require(std::isfinite(eps) && eps >= 0, where, "eps must be 0 or positive and finite, got ", eps);
  require_shape(where, "out", out.sizes, x.sizes);
  if (x.count() == 0) return;
  ScratchFrame shared;
  const T* const w = kernel::packed_vector<T>(shared, weight);
  const T* const b = kernel::packed_vector<T>(shared, bias);
  const kernel::Rows from(x);
  const kernel::Rows to(out);
  const Index width = from.width(), band = std::max<Index>(1, kNormalizeUnit / width);
  parallel_for(device, (from.count() + band - 1) / band, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    for (Index r = unit * band; r < std::min(from.count(), (unit + 1) * band); ++r) {
      const T* const row = kernel::packed<T>(from.row(r), from.stride(), width, copy);
      T* const result = kernel::packed_target<T>(to.row(r), to.stride(), made);
      kernel::normalize_row<T>(row, width, kernel::row_scale<kNorm, T>(row, width, T(eps)), w, b, result);
      kernel::put<T>(result, width, to.row(r), to.stride());
    }
  });
}

// The rows are cut into bands by their number alone, each with its own sums of d_weight and d_bias, which are added in
// order: the same bits for any number of threads.
template <kernel::RowNorm kNorm, class D, class UX, int Rank, class UW, class UG, class UDX, class UDW, class UDB>
void normalize_rows_backward(std::string_view where, const D& device, const View<const UX, Rank>& x,
                             const View<const UW, 1>& weight, double eps, const View<const UG, Rank>& d_out,
                             const View<UDX, Rank>& d_x, const View<UDW, 1>& d_weight, const View<UDB, 1>& d_bias) {
  using T = heed::Compute<UX>;
  constexpr Index kBands = 64;
  check_normalize(where, x, "weight", weight);
  check_normalize(where, x, "d_weight", d_weight);
  check_normalize(where, x, "d_bias", d_bias);
  require_shape(where, "d_out", d_out.sizes, x.sizes);
  if (d_x.data) require_shape(where, "d_x", d_x.sizes, x.sizes);
  if (x.count() == 0) return;
  ScratchFrame shared;
  const T* const w = kernel::packed_vector<T>(shared, weight);
  const kernel::Rows from(x);
  const kernel::Rows incoming(d_out);
  const kernel::Rows to(d_x);
  const Index width = from.width(), rows = from.count();
  const Index band = std::max((rows + kBands - 1) / kBands, std::min(rows, (kNormalizeUnit + width - 1) / width));
  const Index bands = (rows + band - 1) / band;
  T* const weights = d_weight.data ? shared.take<T>(bands * width) : nullptr;
  T* const biases = d_bias.data ? shared.take<T>(bands * width) : nullptr;
  parallel_for(device, bands, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const gradient_copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    T* const to_weight = weights ? weights + unit * width : nullptr;
    T* const to_bias = biases ? biases + unit * width : nullptr;
    if (to_weight) std::fill_n(to_weight, width, T(0));
    if (to_bias) std::fill_n(to_bias, width, T(0));
    for (Index r = unit * band; r < std::min(rows, (unit + 1) * band); ++r) {
      const T* const row = kernel::packed<T>(from.row(r), from.stride(), width, copy);
      const T* const g = kernel::packed<T>(incoming.row(r), incoming.stride(), width, gradient_copy);
      T* const sum = d_x.data ? kernel::packed_sum<T>(to.row(r), to.stride(), width, made) : nullptr;
      const auto by = kernel::row_scale<kNorm, T>(row, width, T(eps));
      kernel::normalize_row_backward<kNorm, T>(row, width, by, w, g, sum, to_weight, to_bias);
      if (sum) kernel::put<T>(sum, width, to.row(r), to.stride());
    }
  });
  kernel::add_bands<T>(weights, bands, d_weight);
  kernel::add_bands<T>(biases, bands, d_bias);
}

}  // namespace detail

/// out = (x - mean) / sqrt(variance + eps) * weight + bias, with the mean and the variance (of all, not of a sample)
/// over the last axis: x (..., C), weight and bias (C) or empty, out as x.
///
/// Any rank, strides and storage; out has x's type and may be x. eps is 0 or more. Throws heed::Error for shapes that
/// do not fit. Time O(rows * C), memory O(C) a thread; a row has the same bits in any batch and for any device.
/// Gradient: to x, weight and bias, by layer_norm_backward.
/// Source: Ba, Kiros and Hinton 2016.
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike O>
void layer_norm(const D& device, const X& x, const W& weight, const B& bias, double eps, O&& out) {
  detail::normalize_rows<kernel::RowNorm::kDeviation>("layer_norm", device, const_view(x), const_view(weight),
                                                      const_view(bias), eps, view(out));
}
template <Device D, Operand X, Operand W, Operand B>
auto layer_norm(const D& device, const X& x, const W& weight, const B& bias, double eps = 1e-5) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("layer_norm", sizes_of(x), x, weight, bias);
  layer_norm(device, x, weight, bias, eps, out);
  return out;
}
template <Operand X, Operand W, Operand B>
auto layer_norm(const X& x, const W& weight, const B& bias, double eps = 1e-5) {
  return layer_norm(DeviceRef(), x, weight, bias, eps);
}

/// Adds the gradients of layer_norm to d_x (..., C), d_weight (C) and d_bias (C); a view of null data is not wanted.
/// The mean and the variance are computed again. The same bits for any device.
template <Device D, TensorLike X, TensorLike W, TensorLike G, TensorLike DX, TensorLike DW, TensorLike DB>
void layer_norm_backward(const D& device, const X& x, const W& weight, double eps, const G& d_out, DX&& d_x,
                         DW&& d_weight, DB&& d_bias) {
  detail::normalize_rows_backward<kernel::RowNorm::kDeviation>("layer_norm_backward", device, const_view(x),
                                                               const_view(weight), eps, const_view(d_out), view(d_x),
                                                               view(d_weight), view(d_bias));
}

/// out = x / sqrt(mean of x^2 + eps) * weight over the last axis: x (..., C), weight (C) or empty, out as x. All else
/// as in layer_norm.
/// Gradient: to x and weight, by rms_norm_backward.
/// Source: Zhang and Sennrich 2019.
template <Device D, TensorLike X, TensorLike W, TensorLike O>
void rms_norm(const D& device, const X& x, const W& weight, double eps, O&& out) {
  const View<const ScalarOf<W>, 1> none;
  detail::normalize_rows<kernel::RowNorm::kMeanSquare>("rms_norm", device, const_view(x), const_view(weight), none, eps,
                                                       view(out));
}
template <Device D, Operand X, Operand W>
auto rms_norm(const D& device, const X& x, const W& weight, double eps = 1e-6) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("rms_norm", sizes_of(x), x, weight);
  rms_norm(device, x, weight, eps, out);
  return out;
}
template <Operand X, Operand W>
auto rms_norm(const X& x, const W& weight, double eps = 1e-6) {
  return rms_norm(DeviceRef(), x, weight, eps);
}

/// Adds the gradients of rms_norm to d_x (..., C) and d_weight (C), as layer_norm_backward does.
template <Device D, TensorLike X, TensorLike W, TensorLike G, TensorLike DX, TensorLike DW>
void rms_norm_backward(const D& device, const X& x, const W& weight, double eps, const G& d_out, DX&& d_x,
                       DW&& d_weight) {
  const View<Compute<ScalarOf<X>>, 1> none;
  detail::normalize_rows_backward<kernel::RowNorm::kMeanSquare>("rms_norm_backward", device, const_view(x),
                                                                const_view(weight), eps, const_view(d_out), view(d_x),
                                                                view(d_weight), none);
}

/// The layer: weight and bias (C), either or both empty.
template <Storage T>
struct LayerNorm {
  Tensor<T, 1> weight = {};
  Tensor<T, 1> bias = {};
  double eps = 1e-5;

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight, heed::optional);
    f("bias", bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return layer_norm(x, weight, bias, eps);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return layer_norm(device, x, weight, bias, eps);
  }
  /// Into a tensor or view of x's shape.
  template <Device D, TensorLike X, TensorLike O>
  void operator()(const D& device, const X& x, O&& out) const {
    layer_norm(device, x, weight, bias, eps, out);
  }
};

/// The layer: weight (C) or empty.
template <Storage T>
struct RmsNorm {
  Tensor<T, 1> weight = {};
  double eps = 1e-6;

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return rms_norm(x, weight, eps);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return rms_norm(device, x, weight, eps);
  }
  /// Into a tensor or view of x's shape.
  template <Device D, TensorLike X, TensorLike O>
  void operator()(const D& device, const X& x, O&& out) const {
    rms_norm(device, x, weight, eps, out);
  }
};

}  // namespace heed::inline HEED_ISA
