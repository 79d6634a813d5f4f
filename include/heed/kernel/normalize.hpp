// SPDX-License-Identifier: Apache-2.0
// Rows brought to mean 0 and mean square 1, or to length 1, forwards and backwards.
#pragma once

#include <cmath>

#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// What a row is shifted and scaled by, (x - mean) * scale, and the factor of what its gradient loses along the result.
template <Real T>
struct RowScale {
  T mean = 0, scale = 1, along = 1;
};

/// What a row is divided by: sqrt(variance + eps), about the mean; sqrt(mean square + eps); max(length, eps);
/// sqrt(length squared + eps).
enum class RowNorm { kDeviation, kMeanSquare, kLength, kSmoothLength };

namespace detail {

/// The sum over a row of f(batches at i), four sums at a time. f gives 0 in lanes whose inputs are 0, or takes the
/// number of lanes and clears the others itself.
template <Real T, class F>
HEED_INLINE T sum_lanes(Index width, F&& f) {
  constexpr Index w = simd::kLanes<T>;
  using simd::Batch;
  constexpr std::integral_constant<Index, w> whole;
  Batch<T> sum[4] = {Batch<T>(T(0)), Batch<T>(T(0)), Batch<T>(T(0)), Batch<T>(T(0))};
  Index i = 0;
  for (; i + 4 * w <= width; i += 4 * w) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) sum[part] = sum[part] + f(i + part * w, whole);
  }
  for (; i + w <= width; i += w) sum[0] = sum[0] + f(i, whole);
  if (i < width) sum[1] = sum[1] + f(i, width - i);
  return simd::reduce_add<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

}  // namespace detail

/// The scale of a row under a norm. Two passes for kDeviation: the variance of numbers far from 0 keeps its accuracy.
template <RowNorm kNorm, Real T>
RowScale<T> row_scale(const T* x, Index width, T eps) {
  using simd::Batch;
  constexpr bool kCentred = kNorm == RowNorm::kDeviation;
  RowScale<T> result;
  if constexpr (kCentred)
    result.mean =
        detail::sum_lanes<T>(width, [&](Index i, auto lanes) { return load_lanes<T>(x + i, lanes); }) / T(width);
  const Batch<T> mean(result.mean);
  const T squares = detail::sum_lanes<T>(width, [&](Index i, auto lanes) {
    Batch<T> centred = load_lanes<T>(x + i, lanes) - mean;
    if constexpr (kCentred && std::same_as<decltype(lanes), Index>)
      centred = simd::select(simd::to_mask<T>(simd::iota<T>() < simd::IndexBatch<T>(simd::IndexLane<T>(lanes))),
                             centred, Batch<T>(T(0)));
    return centred * centred;
  });
  if constexpr (kNorm == RowNorm::kLength) {
    const T length = std::sqrt(squares);
    result.scale = T(1) / std::max(length, eps);
    result.along = length < eps ? T(0) : T(1);
  } else if constexpr (kNorm == RowNorm::kSmoothLength) {
    result.scale = T(1) / std::sqrt(squares + eps);
  } else {
    result.scale = T(1) / std::sqrt(squares / T(width) + eps);
    result.along = T(1) / T(width);
  }
  return result;
}

/// out = (x - mean) * scale * weight + bias; weight and bias may be null, out may be x.
template <Real T>
HEED_NOINLINE void normalize_row(const T* x, Index width, RowScale<T> by, const T* weight, const T* bias, T* out) {
  const simd::Batch<T> mean(by.mean), scale(by.scale);
  for_lanes<T>(width, [&](Index i, auto lanes) {
    simd::Batch<T> y = (load_lanes<T>(x + i, lanes) - mean) * scale;
    if (weight) y = y * load_lanes<T>(weight + i, lanes);
    if (bias) y = y + load_lanes<T>(bias + i, lanes);
    simd::store_partial<T>(y, out + i, lanes);
  });
}

/// The gradients of a normalised row, added to d_x, d_weight and d_bias, each of which may be null. With y the row
/// (x - mean) * scale, and g = d_out * weight:
///   d_x = scale * (g - mean(g) - y * along * sum(g * y)),  the mean of g only if centred,  d_weight = d_out * y.
template <RowNorm kNorm, Real T>
HEED_NOINLINE void normalize_row_backward(const T* x, Index width, RowScale<T> by, const T* weight, const T* d_out,
                                          T* d_x, T* d_weight, T* d_bias) {
  using simd::Batch;
  const Batch<T> mean(by.mean), scale(by.scale);
  const auto normal = [&](Index i, auto lanes) { return (load_lanes<T>(x + i, lanes) - mean) * scale; };
  const auto incoming = [&](Index i, auto lanes) {
    const Batch<T> g = load_lanes<T>(d_out + i, lanes);
    return weight ? g * load_lanes<T>(weight + i, lanes) : g;
  };
  if (d_x) {
    T along = detail::sum_lanes<T>(width, [&](Index i, auto lanes) { return incoming(i, lanes) * normal(i, lanes); });
    T shift = 0;
    if constexpr (kNorm == RowNorm::kDeviation) shift = detail::sum_lanes<T>(width, incoming) / T(width);
    const Batch<T> common(shift), slope(along * by.along);
    for_lanes<T>(width, [&](Index i, auto lanes) {
      const Batch<T> d = incoming(i, lanes) - common - normal(i, lanes) * slope;
      simd::store_partial<T>(simd::fma(d, scale, load_lanes<T>(d_x + i, lanes)), d_x + i, lanes);
    });
  }
  if (d_weight || d_bias) {
    for_lanes<T>(width, [&](Index i, auto lanes) {
      const Batch<T> g = load_lanes<T>(d_out + i, lanes);
      if (d_weight) {
        const Batch<T> sum = simd::fma(g, normal(i, lanes), load_lanes<T>(d_weight + i, lanes));
        simd::store_partial<T>(sum, d_weight + i, lanes);
      }
      if (d_bias) simd::store_partial<T>(load_lanes<T>(d_bias + i, lanes) + g, d_bias + i, lanes);
    });
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
