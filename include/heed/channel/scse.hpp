// SPDX-License-Identifier: Apache-2.0
// scse: channels and positions gated side by side.
#pragma once

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The larger of x * a and x * b, whose gradient a tie splits, or their sum.
struct ConcurrentGate {
  static constexpr std::string_view kName = "scse";
  bool sum = false;
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> a, simd::Batch<T> b) const {
    const simd::Batch<T> u = x * a, v = x * b;
    return sum ? u + v : simd::select(v > u, v, u);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> a, simd::Batch<T> b) const {
    using Batch = simd::Batch<T>;
    const Batch one(T(1)), u = x * a, v = x * b;
    const Batch first = sum ? one : simd::select(u > v, one, simd::select(v > u, Batch(T(0)), Batch(T(0.5))));
    const Batch second = sum ? one : one - first;
    if constexpr (Operand == 0) return d * (first * a + second * b);
    return d * x * (Operand == 1 ? first : second);
  }
};

}  // namespace detail

/// out = max(u, v) element by element, or u + v: u = x * sigmoid(cse.fc2(relu(cse.fc1(mean of each channel)))) and
/// v = x * sigmoid(sum over c of sse.weight(c) x(c) + sse.bias).
///
/// x (B, C, h, w), out as x; cse.fc1.weight (R, C), cse.fc1.bias (R), cse.fc2.weight (C, R), cse.fc2.bias (C),
/// sse.weight (C), sse.bias (1); the reduction follows from the shapes. Throws heed::Error for shapes that do not fit
/// and a map without positions. Reads x three times and writes it once. The same bits for any number of threads.
/// Source: Roy et al. 2018 (the sum) and the authors' code (the maximum, as in their article of 2019).
template <Real T>
struct Scse {
  enum class Combine { kMax, kAdd };
  struct Options {
    Combine combine = Combine::kMax;
  };

  Options options = {};
  Linear<T> fc1 = {}, fc2 = {};
  Tensor<T, 1> sse_weight = {};
  Tensor<T, 1> sse_bias = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "cse.fc1.", fc1, "cse.fc2.", fc2);
    f("sse.weight", sse_weight);
    f("sse.bias", sse_bias);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1];
    require_parameter(kName, "cse.fc1.weight", fc1.weight, {-1, channels});
    require_parameter(kName, "cse.fc2.weight", fc2.weight, {channels, fc1.weight.dimension(0)});
    require_parameter(kName, "sse.weight", sse_weight, {channels});
    const auto squeezed = mean(device, x, {2, 3});
    const auto channel_logits = bottleneck(device, squeezed, fc1, fc2);
    const auto position_logits = conv_channels(device, x, const_view(sse_weight).split(0, channels), sse_bias);
    const auto a = sigmoid(device, channel_logits);
    const auto b = sigmoid(device, position_logits);
    return pointwise(detail::ConcurrentGate{options.combine == Combine::kAdd}, device, x, a, b);
  }

 private:
  static constexpr std::string_view kName = "scse";
};

}  // namespace heed::inline HEED_ISA
