// SPDX-License-Identifier: Apache-2.0
// deviation_norm: a layer norm whose eps is added to the standard deviation.
#pragma once

#include <cmath>

#include "heed/block/elementwise.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// c / (sqrt(v) + eps) w + b.
struct OverDeviation {
  static constexpr std::string_view kName = "deviation_norm";
  double eps = 1e-8;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> c, simd::Batch<T> v, simd::Batch<T> w, simd::Batch<T> b) const {
    return simd::fma(c / (simd::sqrt<T>(v) + simd::Batch<T>(T(eps))), w, b);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> c, simd::Batch<T> v, simd::Batch<T> w,
                          simd::Batch<T>) const {
    if constexpr (Operand == 3) return d;
    const simd::Batch<T> root = simd::sqrt<T>(v), by = simd::Batch<T>(T(1)) / (root + simd::Batch<T>(T(eps)));
    if constexpr (Operand == 0) return d * w * by;
    if constexpr (Operand == 2) return d * c * by;
    // A constant row has no direction to move in: its derivative is taken as 0.
    const simd::Batch<T> slope = simd::Batch<T>(T(-0.5)) * d * c * w * by * by / root;
    return simd::select(root > simd::Batch<T>(T(0)), slope, simd::Batch<T>(T(0)));
  }
};

}  // namespace detail

/// weight (x - mean) / (std + eps) + bias over the last axis of x (B, N, C), with the biased standard deviation: not
/// layer_norm, whose eps is added to the variance. Throws heed::Error for shapes that do not fit.
/// Gradient: of the blocks that it is made of.
template <Storage T>
struct DeviationNorm {
  Tensor<T, 1> weight = {};
  Tensor<T, 1> bias = {};
  double eps = 1e-8;

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias);
  }

  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::DeviationNorm: x is (B, N, C)");
    const std::array<Index, 1> channels{sizes_of(x)[2]};
    require_shape("deviation_norm", "weight", const_view(weight).sizes, channels);
    require_shape("deviation_norm", "bias", const_view(bias).sizes, channels);
    const auto centred = subtract(device, x, mean(device, x, {2}));
    const auto variance = mean(device, multiply(device, centred, centred), {2});
    return pointwise(detail::OverDeviation{eps}, device, centred, variance, weight, bias);
  }
};

}  // namespace heed::inline HEED_ISA
