// SPDX-License-Identifier: Apache-2.0
// simam: each value gated by how far it stands out of its channel, without parameters.
#pragma once

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

struct SquaredDifference {
  static constexpr std::string_view kName = "simam";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> mean) const {
    return (x - mean) * (x - mean);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> mean) const {
    const simd::Batch<T> slope = d * ((x - mean) + (x - mean));
    return Operand == 0 ? slope : -slope;
  }
};

/// x * sigmoid((x - mean)^2 / (4 (variance + lambda)) + 1/2)
struct EnergyGate {
  static constexpr std::string_view kName = "simam";
  double lambda;
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> mean, simd::Batch<T> variance) const {
    return x * Sigmoid().value<T>(energy<T>(x, mean, variance));
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> mean, simd::Batch<T> variance) const {
    using Batch = simd::Batch<T>;
    const Batch e = energy<T>(x, mean, variance), away = x - mean, spread = width<T>(variance);
    const Batch by_energy = d * x * Sigmoid().derivative<T>(e);
    if constexpr (Operand == 2) return -by_energy * away * away * Batch(T(4)) / (spread * spread);
    const Batch by_away = by_energy * (away + away) / spread;
    if constexpr (Operand == 1) return -by_away;
    return simd::fma(d, Sigmoid().value<T>(e), by_away);
  }

 private:
  template <Real T>
  simd::Batch<T> width(simd::Batch<T> variance) const {
    return (variance + simd::Batch<T>(T(lambda))) * simd::Batch<T>(T(4));
  }
  template <Real T>
  simd::Batch<T> energy(simd::Batch<T> x, simd::Batch<T> mean, simd::Batch<T> variance) const {
    return (x - mean) * (x - mean) / width<T>(variance) + simd::Batch<T>(T(0.5));
  }
};

}  // namespace detail

/// out = x * sigmoid(e), e = (x - m)^2 / (4 (v + e_lambda)) + 1/2, m the mean of a channel over its N = h w positions
/// and v = (sum of (x - m)^2) / (N - 1).
///
/// x (B, C, h, w), out as x, no parameters; e_lambda > 0. Of a single position v is 0. Throws heed::Error for a map
/// without positions and another e_lambda. Reads x three times and writes it once. The same bits for any number of
/// threads.
/// Source: Yang et al. 2021.
template <Real T>
struct SimAm {
  struct Options {
    double e_lambda = 1e-4;
  };

  Options options = {};

  template <class F>
  void for_each_parameter(F&&) {}

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    require(options.e_lambda > 0, kName, "options.e_lambda must be positive, got ", options.e_lambda);
    const Index positions = sizes_of(x)[2] * sizes_of(x)[3];
    const auto centre = mean(device, x, {2, 3});
    const auto squares = pointwise_sum(detail::SquaredDifference(), device, {2, 3}, x, centre);
    const auto variance = scale(device, squares, positions > 1 ? 1.0 / double(positions - 1) : 0.0);
    return pointwise(detail::EnergyGate{options.e_lambda}, device, x, centre, variance);
  }

 private:
  static constexpr std::string_view kName = "simam";
};

}  // namespace heed::inline HEED_ISA
