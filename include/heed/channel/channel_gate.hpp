// SPDX-License-Identifier: Apache-2.0
// channel_gate: the channel half of CBAM, one network shared by several pooled vectors.
#pragma once

#include <vector>

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

struct Square {
  static constexpr std::string_view kName = "square";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return x * x;
  }
  template <int, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x) const {
    return d * (x + x);
  }
};

/// e^(x - shift)
struct ShiftedExp {
  static constexpr std::string_view kName = "shifted_exp";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> shift) const {
    return simd::exp<T>(x - shift);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> shift) const {
    const simd::Batch<T> slope = d * simd::exp<T>(x - shift);
    return Operand == 0 ? slope : -slope;
  }
};

/// Its derivative at 0 is 0.
struct SquareRoot {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::sqrt(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> zero(T(0));
    return simd::select(x > zero, simd::Batch<T>(T(0.5)) / simd::sqrt(x), zero);
  }
};

struct Logarithm {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::log<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::Batch<T>(T(1)) / x;
  }
};

}  // namespace detail

/// out = x * sigmoid(sum over the pools p of fc2(relu(fc1(z_p)))), each z_p a number per channel over all positions:
/// the mean, the largest, sqrt(sum of x^2) (kLp) or log(sum of e^x) (kLse).
///
/// x (B, C, h, w), out as x; fc1.weight (R, C), fc1.bias (R), fc2.weight (C, R), fc2.bias (C), the biases optional and
/// counted once per pool; the reduction follows from the shapes. The gradient of kLp at a channel of zeros is 0. Throws
/// heed::Error for shapes that do not fit, a map without positions and an empty list of pools. Reads x once per pool
/// (kLse twice) and once more, and writes it once. The same bits for any number of threads. Source: Woo et al. 2018;
/// kLp and kLse are of the authors' code.
template <Real T>
struct ChannelGate {
  enum class Pool { kMean, kMax, kLp, kLse };
  struct Options {
    std::vector<Pool> pools = {Pool::kMean, Pool::kMax};
  };

  Options options = {};
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "fc1.", fc1, "fc2.", fc2);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return gate(device, x, factor(device, x));
  }

  /// What x is multiplied by, (B, C, 1, 1).
  template <Device D, Operand X>
  auto factor(const D& device, const X& x) const {
    require_map(kName, x);
    require_parameter(kName, "fc1.weight", fc1.weight, {-1, sizes_of(x)[1]});
    require_parameter(kName, "fc2.weight", fc2.weight, {sizes_of(x)[1], fc1.weight.dimension(0)});
    require(!options.pools.empty(), kName, "options.pools must not be empty");
    auto logits = term(device, x, options.pools[0]);
    for (std::size_t p = 1; p < options.pools.size(); ++p)
      logits = add(device, logits, term(device, x, options.pools[p]));
    return sigmoid(device, logits);
  }

 private:
  static constexpr std::string_view kName = "channel_gate";

  template <Device D, Operand X>
  auto term(const D& device, const X& x, Pool pool) const {
    const auto squeezed = squeeze(device, x, pool);
    return bottleneck(device, squeezed, fc1, fc2);
  }

  template <Device D, Operand X>
  static auto squeeze(const D& device, const X& x, Pool pool) {
    if (pool == Pool::kMean) return mean(device, x, {2, 3});
    if (pool == Pool::kMax) return max(device, x, {2, 3});
    if (pool == Pool::kLp) {
      const auto squares = pointwise_sum(detail::Square(), device, {2, 3}, x);
      return activate(device, detail::SquareRoot(), squares);
    }
    const auto shift = max(device, x, {2, 3});
    const auto sum = pointwise_sum(detail::ShiftedExp(), device, {2, 3}, x, shift);
    const auto logarithm = activate(device, detail::Logarithm(), sum);
    return add(device, shift, logarithm);
  }
};

}  // namespace heed::inline HEED_ISA
