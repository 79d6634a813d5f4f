// SPDX-License-Identifier: Apache-2.0
// The derivatives of activations as functions of their own: for operators that take a gradient step themselves, and are
// differentiated again.
#pragma once

#include "heed/block/activation.hpp"

namespace heed::inline HEED_ISA {

/// Relu's derivative, whose own is 0.
///
/// Gradient: to x, as of all of these, by activate_backward.
struct ReluSlope {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return Relu().derivative<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T>) const {
    return simd::Batch<T>(T(0));
  }
};

/// Silu's derivative: s + x s (1 - s), with s the sigmoid of x; its own is s (1 - s) (2 + x (1 - 2 s)).
struct SiluSlope {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return Silu().derivative<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> s = Sigmoid().value<T>(x), one(T(1)), two(T(2));
    return Sigmoid().derivative<T>(x) * simd::fma(x, one - two * s, two);
  }
};

/// Gelu's derivative; its own is phi(x) (2 - x^2), with the normal density phi.
struct GeluSlope {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return Gelu().derivative<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    constexpr T inverse_sqrt_2_pi = T(0.398942280401432677939946059934L);
    const simd::Batch<T> square = x * x;
    return simd::exp<T>(square * simd::Batch<T>(T(-0.5))) * simd::Batch<T>(inverse_sqrt_2_pi) *
           (simd::Batch<T>(T(2)) - square);
  }
};

}  // namespace heed::inline HEED_ISA
