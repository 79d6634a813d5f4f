// SPDX-License-Identifier: Apache-2.0
// Dual numbers on batches: a value and its derivatives by a few variables, for functors that are differentiated by
// being evaluated.
#pragma once

#include "heed/simd/math.hpp"

namespace heed::inline HEED_ISA {

namespace simd {

/// A batch and its derivatives by K variables. Arithmetic with duals, batches and numbers, comparisons (of the values),
/// and the functions below give the value that a batch would and the derivatives by the chain rule. A functor that is
/// generic in its batch type (`auto s`) and calls functions without naming a namespace (`exp(s)`) or in heed::simd
/// takes either.
template <Real T, int K>
struct Dual {
  using value_type = T;

  Batch<T> value;
  Batch<T> d[K];

  Dual() = default;
  /// A constant.
  Dual(Batch<T> x) : value(x) {
    for (auto& slope : d) slope = Batch<T>(T(0));
  }
  template <class U>
  requires std::is_arithmetic_v<U> Dual(U x) : Dual(Batch<T>(T(x))) {}
  /// Variable k.
  static Dual variable(Batch<T> x, int k) {
    Dual result(x);
    result.d[k] = Batch<T>(T(1));
    return result;
  }

  /// f(*this), of value `result` and derivative `slope`.
  HEED_INLINE Dual mapped(Batch<T> result, Batch<T> slope) const {
    Dual y;
    y.value = result;
    for (int k = 0; k < K; ++k) y.d[k] = d[k] * slope;
    return y;
  }

  friend Dual operator-(const Dual& a) { return a.mapped(-a.value, Batch<T>(T(-1))); }

  friend Dual operator+(const Dual& a, const Dual& b) {
    Dual y;
    y.value = a.value + b.value;
    for (int k = 0; k < K; ++k) y.d[k] = a.d[k] + b.d[k];
    return y;
  }
  friend Dual operator-(const Dual& a, const Dual& b) {
    Dual y;
    y.value = a.value - b.value;
    for (int k = 0; k < K; ++k) y.d[k] = a.d[k] - b.d[k];
    return y;
  }
  friend Dual operator*(const Dual& a, const Dual& b) {
    Dual y;
    y.value = a.value * b.value;
    for (int k = 0; k < K; ++k) y.d[k] = simd::fma(a.d[k], b.value, b.d[k] * a.value);
    return y;
  }
  friend Dual operator/(const Dual& a, const Dual& b) {
    Dual y;
    y.value = a.value / b.value;
    for (int k = 0; k < K; ++k) y.d[k] = (a.d[k] - y.value * b.d[k]) / b.value;
    return y;
  }

  friend Mask<T> operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  friend Mask<T> operator>(const Dual& a, const Dual& b) { return a.value > b.value; }
  friend Mask<T> operator<=(const Dual& a, const Dual& b) { return a.value <= b.value; }
  friend Mask<T> operator>=(const Dual& a, const Dual& b) { return a.value >= b.value; }
  friend Mask<T> operator==(const Dual& a, const Dual& b) { return a.value == b.value; }
  friend Mask<T> operator!=(const Dual& a, const Dual& b) { return a.value != b.value; }
};

template <Real T, int K>
HEED_INLINE Dual<T, K> select(Mask<T> condition, const Dual<T, K>& a, const Dual<T, K>& b) {
  Dual<T, K> y;
  y.value = select(condition, a.value, b.value);
  for (int k = 0; k < K; ++k) y.d[k] = select(condition, a.d[k], b.d[k]);
  return y;
}
/// Where the arguments are equal, these have the derivatives of the first, and |x| the one of x.
template <Real T, int K>
HEED_INLINE Dual<T, K> max(const Dual<T, K>& a, const Dual<T, K>& b) {
  return select(b.value > a.value, b, a);
}
template <Real T, int K>
HEED_INLINE Dual<T, K> min(const Dual<T, K>& a, const Dual<T, K>& b) {
  return select(b.value < a.value, b, a);
}
template <Real T, int K>
HEED_INLINE Dual<T, K> abs(const Dual<T, K>& x) {
  return x.mapped(abs(x.value), select(x.value < Batch<T>(T(0)), Batch<T>(T(-1)), Batch<T>(T(1))));
}
template <Real T, int K>
HEED_INLINE Dual<T, K> fma(const Dual<T, K>& a, std::type_identity_t<Batch<T>> b, const Dual<T, K>& c) {
  Dual<T, K> y;
  y.value = fma(a.value, b, c.value);
  for (int k = 0; k < K; ++k) y.d[k] = fma(a.d[k], b, c.d[k]);
  return y;
}
template <Real T, int K>
HEED_INLINE Dual<T, K> fma(const Dual<T, K>& a, const Dual<T, K>& b, const Dual<T, K>& c) {
  Dual<T, K> y = a * b + c;
  y.value = fma(a.value, b.value, c.value);
  return y;
}
template <Real T, int K>
HEED_INLINE Dual<T, K> exp(const Dual<T, K>& x) {
  const Batch<T> y = exp<T>(x.value);
  return x.mapped(y, y);
}
template <Real T, int K>
HEED_INLINE Dual<T, K> tanh(const Dual<T, K>& x) {
  const Batch<T> y = tanh<T>(x.value);
  return x.mapped(y, Batch<T>(T(1)) - y * y);
}
template <Real T, int K>
HEED_INLINE Dual<T, K> log(const Dual<T, K>& x) {
  return x.mapped(log<T>(x.value), Batch<T>(T(1)) / x.value);
}
template <Real T, int K>
HEED_INLINE Dual<T, K> sqrt(const Dual<T, K>& x) {
  const Batch<T> y = xsimd::sqrt(x.value);
  return x.mapped(y, Batch<T>(T(0.5)) / y);
}

/// The value of a dual, and a batch itself.
template <Real T, int K>
HEED_INLINE Batch<T> value_of(const Dual<T, K>& x) {
  return x.value;
}
template <Real T>
HEED_INLINE Batch<T> value_of(Batch<T> x) {
  return x;
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA
