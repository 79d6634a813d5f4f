// SPDX-License-Identifier: Apache-2.0
// exp2, exp, log, tanh and erf on batches.
#pragma once

#include <cmath>
#include <limits>

#include "heed/simd/batch.hpp"

// As in batch.hpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace heed::inline HEED_ISA {

namespace simd {

namespace detail {

/// x * 2^n for integral n with x * 2^n normal or zero: an addition to the exponent bits.
HEED_INLINE Batch<float> scale_exponent(Batch<float> x, IndexBatch<float> n) {
#if XSIMD_VERSION_MAJOR >= 10
  return xsimd::bitwise_cast<float>(xsimd::bitwise_cast<std::int32_t>(x) + (n << 23));
#else
  return xsimd::bitwise_cast<Batch<float>>(xsimd::bitwise_cast<IndexBatch<float>>(x) + (n << 23));
#endif
}
HEED_INLINE IndexBatch<float> float_bits(Batch<float> x) {
#if XSIMD_VERSION_MAJOR >= 10
  return xsimd::bitwise_cast<std::int32_t>(x);
#else
  return xsimd::bitwise_cast<IndexBatch<float>>(x);
#endif
}
HEED_INLINE Batch<double> scale_exponent(Batch<double> x, IndexBatch<double> n) {
#if XSIMD_VERSION_MAJOR >= 10
  return xsimd::bitwise_cast<double>(xsimd::bitwise_cast<std::int64_t>(x) + (n << 52));
#else
  return xsimd::bitwise_cast<Batch<double>>(xsimd::bitwise_cast<IndexBatch<double>>(x) + (n << 52));
#endif
}
HEED_INLINE IndexBatch<double> double_bits(Batch<double> x) {
#if XSIMD_VERSION_MAJOR >= 10
  return xsimd::bitwise_cast<std::int64_t>(x);
#else
  return xsimd::bitwise_cast<IndexBatch<double>>(x);
#endif
}

// 2^r on [-1/2, 1/2], minimax in relative error with p(0) = 1: 2.6e-9 in degree 6, 1.8e-17 in degree 11.
HEED_INLINE Batch<float> exp2_polynomial(Batch<float> r) {
  Batch<float> p = fma(Batch<float>(1.559467816e-4f), r, Batch<float>(1.34066439e-3f));
  p = fma(p, r, Batch<float>(9.617692973e-3f));
  p = fma(p, r, Batch<float>(5.550310551e-2f));
  p = fma(p, r, Batch<float>(2.402265278e-1f));
  p = fma(p, r, Batch<float>(6.93147215e-1f));
  return fma(p, r, Batch<float>(1.f));
}
HEED_INLINE Batch<double> exp2_polynomial(Batch<double> r) {
  Batch<double> p = fma(Batch<double>(4.078071929588336665e-10), r, Batch<double>(7.07257041281442351e-9));
  p = fma(p, r, Batch<double>(1.018064765923413889e-7));
  p = fma(p, r, Batch<double>(1.321544267532982214e-6));
  p = fma(p, r, Batch<double>(1.52527273851938682e-5));
  p = fma(p, r, Batch<double>(1.540353044157213033e-4));
  p = fma(p, r, Batch<double>(1.333355815343996475e-3));
  p = fma(p, r, Batch<double>(9.61812910760700238e-3));
  p = fma(p, r, Batch<double>(5.550410866479039455e-2));
  p = fma(p, r, Batch<double>(2.402265069591009801e-1));
  p = fma(p, r, Batch<double>(6.931471805599456968e-1));
  return fma(p, r, Batch<double>(1.0));
}

}  // namespace detail

/// 2^t for t <= 0, as the streaming softmax needs it: within 2 units in the last place down to 2^-126 (double:
/// 2^-1022), exactly 0 for -infinity, NaN for NaN. Below that it goes to 0 by way of the denormals.
HEED_INLINE Batch<float> exp2_nonpositive(Batch<float> t) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  // reduce gives t - rint(t), and 0 for -infinity, so no clamp is needed.
  const Batch<float> r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_scalef_ps(detail::exp2_polynomial(r), _mm512_sub_ps(t, r));
#else
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. -127 and not -126, so that -infinity gives
  // the bits of exactly 0.
  t = max_or_nan(Batch<float>(-127.f), t);
  const Batch<float> magic(12582912.f);
  const Batch<float> n = t + magic;
  return detail::scale_exponent(detail::exp2_polynomial(t - (n - magic)), detail::float_bits(n));
#endif
}
HEED_INLINE Batch<double> exp2_nonpositive(Batch<double> t) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  const Batch<double> r = _mm512_reduce_pd(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_scalef_pd(detail::exp2_polynomial(r), _mm512_sub_pd(t, r));
#else
  t = max_or_nan(Batch<double>(-1023.0), t);
  const Batch<double> magic(6755399441055744.0);
  const Batch<double> n = t + magic;
  return detail::scale_exponent(detail::exp2_polynomial(t - (n - magic)), detail::double_bits(n));
#endif
}

/// 2^t for any t, +infinity on overflow; all else as exp2_nonpositive.
template <Real T>
HEED_INLINE Batch<T> exp2(Batch<T> t) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  return exp2_nonpositive(t);  // scalef knows about overflow
#else
  // 2^128 (double: 2^1024) has the bits of infinity; a smaller t gives at most 2^127 times a number from 1 to 2.
  constexpr T beyond = T(std::numeric_limits<T>::max_exponent);
  return exp2_nonpositive(-max_or_nan(Batch<T>(-beyond), -t));
#endif
}

/// e^x within 3 units in the last place; 0 below the smallest normal number, +infinity on overflow, NaN for NaN.
template <Real T>
HEED_INLINE Batch<T> exp(Batch<T> x) {
  // Two steps of half the size keep the exponent of either factor in range for every finite result.
  constexpr T log2_e = T(1.442695040888963407L);
  constexpr T ln2_high = std::same_as<T, float> ? T(0.693359375L) : T(6.93147180369123816490e-01L);
  constexpr T ln2_low = std::same_as<T, float> ? T(-2.12194440e-4L) : T(1.90821492927058770002e-10L);
  constexpr T lowest = std::same_as<T, float> ? T(-87.33654L) : T(-708.396418532264L);
  constexpr T highest = std::same_as<T, float> ? T(88.72283L) : T(709.782712893384L);
  // Of NaN and a number x86 takes the second: no NaN is left to be converted to an integer.
  const Batch<T> clamped = min(max(x, Batch<T>(lowest)), Batch<T>(highest));
  const Batch<T> n = xsimd::nearbyint(clamped * Batch<T>(log2_e));
  Batch<T> r = fma(n, Batch<T>(-ln2_high), clamped);
  r = fma(n, Batch<T>(-ln2_low), r);
  const Batch<T> half_n = xsimd::nearbyint(n * Batch<T>(T(0.5)));
  const IndexBatch<T> first = xsimd::to_int(half_n), second = xsimd::to_int(n - half_n);
  Batch<T> result = detail::scale_exponent(detail::exp2_polynomial(r * Batch<T>(log2_e)), first);
  result = result * detail::scale_exponent(Batch<T>(T(1)), second);
  result = select(x > Batch<T>(highest), Batch<T>(std::numeric_limits<T>::infinity()), result);
  result = select(x < Batch<T>(lowest), Batch<T>(T(0)), result);
  return select(x == x, result, x);
}

/// tanh x within 4 units in the last place; NaN for NaN.
template <Real T>
HEED_INLINE Batch<T> tanh(Batch<T> x) {
  if constexpr (std::same_as<T, double>) {
    return xsimd::tanh(x);
  } else {
    // Near 0 a polynomial in x^2 keeps the relative error, from 5/8 on 1 - 2 / (e^2|x| + 1) does.
    const Batch<T> magnitude = abs(x);
    const Batch<T> square = x * x;
    Batch<T> p = fma(Batch<T>(-5.70498872745e-3f), square, Batch<T>(2.06390887954e-2f));
    p = fma(p, square, Batch<T>(-5.37397155531e-2f));
    p = fma(p, square, Batch<T>(1.33314422036e-1f));
    p = fma(p, square, Batch<T>(-3.33332819422e-1f));
    const Batch<T> near = fma(p * square, x, x);
    const Batch<T> e = exp<T>(min(Batch<T>(20.f), magnitude) * Batch<T>(2.f));
    const Batch<T> far = Batch<T>(1.f) - Batch<T>(2.f) / (e + Batch<T>(1.f));
    const Batch<T> outer = select(x < Batch<T>(0.f), -far, far);
    return select(x == x, select(magnitude < Batch<T>(0.625f), near, outer), x);
  }
}

/// The square root, correctly rounded.
template <Real T>
HEED_INLINE Batch<T> sqrt(Batch<T> x) {
  return xsimd::sqrt(x);
}

/// log x within 1 unit in the last place; -infinity for 0, NaN below it and for NaN.
template <Real T>
HEED_INLINE Batch<T> log(Batch<T> x) {
#if defined(__AVX512BW__) && !defined(__OPTIMIZE__) && XSIMD_VERSION_MAJOR < 9
  // Lane by lane: without optimisation, where intrinsics are macros, g++ does not take xsimd 8.1's own.
  alignas(64) T lanes[kLanes<T>];
  x.store_aligned(lanes);
  for (T& lane : lanes) lane = std::log(lane);
  return load_aligned(lanes);
#else
  return xsimd::log(x);
#endif
}
/// log(1 + x) within 1 unit in the last place for x >= 0; NaN for NaN.
template <Real T>
HEED_INLINE Batch<T> log1p(Batch<T> x) {
  return xsimd::log1p(x);
}

/// sin x and cos x within 2 units in the last place of 1 for |x| up to 8192; NaN for NaN and infinities.
template <Real T>
HEED_INLINE Batch<T> sin(Batch<T> x) {
  return xsimd::sin(x);
}
template <Real T>
HEED_INLINE Batch<T> cos(Batch<T> x) {
  return xsimd::cos(x);
}

/// erf x within 2 units in the last place, 1 in double, which goes through the C library lane by lane; NaN for NaN.
template <Real T>
HEED_INLINE Batch<T> erf(Batch<T> x) {
  if constexpr (std::same_as<T, double>) {
    alignas(64) T lanes[kLanes<T>];
    x.store_aligned(lanes);
    for (T& lane : lanes) lane = std::erf(lane);
    return load_aligned(lanes);
  } else {
    // Minimax: erf(x) / x - 1 in x^2 up to 1 (1.3e-9 of erf), and beyond it log2 erfc |x| up to 4, where erf rounds to
    // 1 (1.1e-9 of erf).
    const Batch<T> magnitude = abs(x);
    const Batch<T> square = min(Batch<T>(1.f), x * x);
    Batch<T> p = fma(Batch<T>(7.853857713e-05f), square, Batch<T>(-8.010192523e-04f));
    p = fma(p, square, Batch<T>(5.188327560e-03f));
    p = fma(p, square, Batch<T>(-2.685381187e-02f));
    p = fma(p, square, Batch<T>(1.128358515e-01f));
    p = fma(p, square, Batch<T>(-3.761262582e-01f));
    p = fma(p, square, Batch<T>(1.283791657e-01f));
    const Batch<T> near = fma(x, p, x);
    const Batch<T> a = min(Batch<T>(4.f), max(Batch<T>(1.f), magnitude));
    Batch<T> q = fma(Batch<T>(2.677279781e-04f), a, Batch<T>(-4.240969043e-03f));
    q = fma(q, a, Batch<T>(3.145847197e-02f));
    q = fma(q, a, Batch<T>(-1.486515972e-01f));
    q = fma(q, a, Batch<T>(-9.207649115e-01f));
    q = fma(q, a, Batch<T>(-1.625975134e+00f));
    q = fma(q, a, Batch<T>(-5.102941194e-04f));
    const Batch<T> far = Batch<T>(1.f) - exp2_nonpositive(q);
    const Batch<T> outer = select(x < Batch<T>(0.f), -far, far);
    return select(x == x, select(magnitude < Batch<T>(1.f), near, outer), x);
  }
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
