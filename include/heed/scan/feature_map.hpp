// SPDX-License-Identifier: Apache-2.0
// Feature maps of linear attention: functions phi for which phi(q) . phi(k) is the weight of a pair.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <numbers>

#include "heed/simd/batch.hpp"

namespace heed::inline HEED_ISA {

/// What linear_attention takes for phi. `weight` is phi(q) . phi(k) as a function of q . k, which pairs that are near
/// each other are computed by; `slope` is its derivative.
///
///   struct Map {
///     Index size(Index width) const;                                       // features of `width` channels
///     template <Real T> void features(const T* x, Index width, T* phi) const;
///     template <Real T> void backward(const T* x, Index width, const T* d_phi, T* d_x) const;   // adds to d_x
///     template <Real T> Batch<T> weight(Batch<T> dot) const;
///     template <Real T> Batch<T> slope(Batch<T> dot) const;
///   };
///
/// No gradient: of its own; that of linear_attention calls `backward` and `slope`.
template <class M>
concept FeatureMap = requires(const M& map, const float* x, float* out, simd::Batch<float> s) {
  { map.size(Index()) } -> std::same_as<Index>;
  map.template features<float>(x, Index(), out);
  map.template backward<float>(x, Index(), x, out);
  { map.template weight<float>(s) } -> std::same_as<simd::Batch<float>>;
  { map.template slope<float>(s) } -> std::same_as<simd::Batch<float>>;
};

/// phi(x) = x.
struct IdentityFeatures {
  Index size(Index width) const { return width; }
  template <Real T>
  void features(const T* x, Index width, T* phi) const {
    std::copy_n(x, width, phi);
  }
  template <Real T>
  void backward(const T*, Index width, const T* d_phi, T* d_x) const {
    for (Index a = 0; a < width; ++a) d_x[a] += d_phi[a];
  }
  template <Real T>
  simd::Batch<T> weight(simd::Batch<T> dot) const {
    return dot;
  }
  template <Real T>
  simd::Batch<T> slope(simd::Batch<T>) const {
    return simd::Batch<T>(T(1));
  }
};

/// The features of 1 + s + s^2 / 2 with s = scale * q . k, the beginning of e^s: 1, then sqrt(scale) x_a, then for each
/// a, scale / sqrt(2) x_a^2 and scale x_a x_b for b > a. 1 + D + D (D + 1) / 2 of them, equal terms merged.
struct TaylorFeatures {
  double scale = 1;

  Index size(Index width) const { return 1 + width + width * (width + 1) / 2; }
  template <Real T>
  void features(const T* x, Index width, T* phi) const {
    const T first = T(std::sqrt(scale)), square = T(scale / std::numbers::sqrt2), by = T(scale);
    *phi++ = T(1);
    for (Index a = 0; a < width; ++a) *phi++ = first * x[a];
    for (Index a = 0; a < width; ++a) {
      const T factor = by * x[a];
      *phi++ = square * x[a] * x[a];
      for (Index b = a + 1; b < width; ++b) *phi++ = factor * x[b];
    }
  }
  template <Real T>
  void backward(const T* x, Index width, const T* d_phi, T* d_x) const {
    const T first = T(std::sqrt(scale)), square = T(scale * std::numbers::sqrt2), by = T(scale);
    ++d_phi;
    for (Index a = 0; a < width; ++a) d_x[a] += first * *d_phi++;
    for (Index a = 0; a < width; ++a) {
      T sum = square * x[a] * *d_phi++;
      const T factor = by * x[a];
      for (Index b = a + 1; b < width; ++b) {
        const T d = *d_phi++;
        sum += by * d * x[b];
        d_x[b] += factor * d;
      }
      d_x[a] += sum;
    }
  }
  template <Real T>
  simd::Batch<T> weight(simd::Batch<T> dot) const {
    const simd::Batch<T> s = dot * simd::Batch<T>(T(scale));
    return simd::fma(simd::fma(s, simd::Batch<T>(T(0.5)), simd::Batch<T>(T(1))), s, simd::Batch<T>(T(1)));
  }
  template <Real T>
  simd::Batch<T> slope(simd::Batch<T> dot) const {
    const simd::Batch<T> by = simd::Batch<T>(T(scale));
    return simd::fma(dot * by, by, by);
  }
};

}  // namespace heed::inline HEED_ISA
