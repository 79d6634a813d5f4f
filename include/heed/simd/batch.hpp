// SPDX-License-Identifier: Apache-2.0
// Batches: the SIMD registers of this translation unit's instruction set, and the few operations that xsimd lacks or
// that differ between its versions 8.1 and 14.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <xsimd/xsimd.hpp>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "heed/core/scalar.hpp"

// Many AVX-512 intrinsics of g++ 12 read an uninitialised value of their own (GCC bug 105593), and -Wall says so where
// they are inlined. That warning is off for whatever is inlined by way of this header.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace heed::inline HEED_ISA {

namespace simd {

/// A register of T.
template <Real T>
using Batch = xsimd::batch<T>;
/// A lane-wise condition on a Batch<T>.
template <Real T>
using Mask = typename xsimd::batch<T>::batch_bool_type;
/// Signed integers with as many lanes as Batch<T>.
template <Real T>
using IndexBatch = xsimd::batch<std::conditional_t<std::same_as<T, float>, std::int32_t, std::int64_t>>;
/// The lane type of IndexBatch<T>.
template <Real T>
using IndexLane = typename IndexBatch<T>::value_type;

template <Real T>
inline constexpr int kLanes = int(Batch<T>::size);

/// Registers that a micro-kernel may count on.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kRegisters = 32;
#else
inline constexpr int kRegisters = 16;
#endif

#if defined(__AVX512F__) || defined(__FMA__) || defined(__aarch64__)
inline constexpr bool kHasFma = true;
#else
inline constexpr bool kHasFma = false;
#endif

using xsimd::abs;
using xsimd::any;
using xsimd::select;
using xsimd::sqrt;

template <class T>
HEED_INLINE xsimd::batch<T> max(xsimd::batch<T> a, xsimd::batch<T> b) {
  return xsimd::max(a, b);
}
template <class T>
HEED_INLINE xsimd::batch<T> min(xsimd::batch<T> a, xsimd::batch<T> b) {
  return xsimd::min(a, b);
}

/// a * b + c, fused wherever the hardware can. xsimd 8.1 spells the AVX-512 one as a product and a sum, which only a
/// compiler that contracts across statements turns into one instruction: clang ran at half the speed.
HEED_INLINE Batch<float> fma(Batch<float> a, Batch<float> b, Batch<float> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#else
  return xsimd::fma(a, b, c);
#endif
}
HEED_INLINE Batch<double> fma(Batch<double> a, Batch<double> b, Batch<double> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#else
  return xsimd::fma(a, b, c);
#endif
}

/// The larger of a number and x, NaN if x is. x86 max returns its second operand when either is NaN, and xsimd's order
/// of the two differs between versions.
HEED_INLINE Batch<float> max_or_nan(Batch<float> number, Batch<float> x) {
#if defined(__AVX512F__)
  return _mm512_max_ps(number, x);
#elif defined(__AVX__)
  return _mm256_max_ps(number, x);
#elif defined(__SSE2__)
  return _mm_max_ps(number, x);
#else
  return xsimd::max(number, x);
#endif
}
HEED_INLINE Batch<double> max_or_nan(Batch<double> number, Batch<double> x) {
#if defined(__AVX512F__)
  return _mm512_max_pd(number, x);
#elif defined(__AVX__)
  return _mm256_max_pd(number, x);
#elif defined(__SSE2__)
  return _mm_max_pd(number, x);
#else
  return xsimd::max(number, x);
#endif
}

template <Real T>
HEED_INLINE Batch<T> load(const T* address) {
  return Batch<T>::load_unaligned(address);
}
template <Real T>
HEED_INLINE Batch<T> load_aligned(const T* address) {
  return Batch<T>::load_aligned(address);
}

/// *address in every lane. As inline assembly under g++ for x86: given eight neighbouring scalars to broadcast, g++ 12
/// loads them as a vector and shuffles each out again, which costs a quarter of the micro-kernel's speed (0.70 instead
/// of 0.91 of the FMA peak with 8 x 3 accumulators).
template <Real T>
HEED_INLINE Batch<T> load_broadcast(const T* address) {
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
  typename Batch<T>::register_type value;
  if constexpr (sizeof(T) == 4) {
    asm("vbroadcastss %1, %0" : "=v"(value) : "m"(*address));
  } else {
    asm("vbroadcastsd %1, %0" : "=v"(value) : "m"(*address));
  }
  return value;
#elif defined(__GNUC__) && !defined(__clang__) && defined(__AVX2__)
  typename Batch<T>::register_type value;
  if constexpr (sizeof(T) == 4) {
    asm("vbroadcastss %1, %0" : "=x"(value) : "m"(*address));
  } else {
    asm("vbroadcastsd %1, %0" : "=x"(value) : "m"(*address));
  }
  return value;
#else
  return Batch<T>(*address);
#endif
}

/// x, kept in a register. g++ otherwise folds a load into each of the instructions that use it: four fused
/// multiply-adds then read one value four times, and the load ports, not the arithmetic, set the pace.
template <Real T>
HEED_INLINE Batch<T> in_register(Batch<T> x) {
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
  typename Batch<T>::register_type value = x;
  asm("" : "+v"(value));
  return value;
#elif defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__)
  typename Batch<T>::register_type value = x;
  asm("" : "+x"(value));
  return value;
#else
  return x;
#endif
}

namespace detail {
template <Real T>
HEED_INLINE IndexBatch<T> iota_lanes() {
  alignas(64) static constexpr auto values = [] {
    std::array<IndexLane<T>, std::size_t(kLanes<T>)> lanes{};
    for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] = IndexLane<T>(i);
    return lanes;
  }();
  return IndexBatch<T>::load_aligned(values.data());
}

template <class Register, std::size_t... I>
HEED_INLINE Register zip_low(Register a, Register b, std::index_sequence<I...>) {
  constexpr int w = int(sizeof...(I));
  return __builtin_shufflevector(a, b, (int(I) / 2 + (int(I) % 2) * w)...);
}
template <class Register, std::size_t... I>
HEED_INLINE Register zip_high(Register a, Register b, std::index_sequence<I...>) {
  constexpr int w = int(sizeof...(I));
  return __builtin_shufflevector(a, b, (w / 2 + int(I) / 2 + (int(I) % 2) * w)...);
}
}  // namespace detail

/// 0, 1, 2, ...
template <Real T>
HEED_INLINE IndexBatch<T> iota() {
  return detail::iota_lanes<T>();
}

/// Integers to T, exact below 2^24 (float) or 2^53 (double).
template <Real T>
HEED_INLINE Batch<T> to_real(IndexBatch<T> x) {
  return xsimd::to_float(x);
}

/// The condition of integer lanes as one of T lanes.
template <Real T>
HEED_INLINE Mask<T> to_mask(typename IndexBatch<T>::batch_bool_type x) {
  using From = typename IndexBatch<T>::batch_bool_type::register_type;
  using To = typename Mask<T>::register_type;
  return Mask<T>((To)(From(x)));  // the same bits: a reinterpretation of vector types, which has no named cast
}

/// A lane condition of either kind as one of T lanes.
template <Real T>
HEED_INLINE Mask<T> as_mask(Mask<T> x) {
  return x;
}
template <Real T>
HEED_INLINE Mask<T> as_mask(typename IndexBatch<T>::batch_bool_type x) {
  return to_mask<T>(x);
}
template <Real T>
HEED_INLINE Mask<T> as_mask(bool x) {
  return Mask<T>(x);
}

/// True in the first `count` < kLanes lanes.
template <Real T>
HEED_INLINE Mask<T> first_lanes(int count) {
#if defined(__AVX512F__)
  return Mask<T>(typename Mask<T>::register_type((1u << count) - 1u));
#else
  return to_mask<T>(iota<T>() < IndexBatch<T>(IndexLane<T>(count)));
#endif
}

/// Whether permute is an instruction.
#if defined(__AVX512F__)
template <Real T>
inline constexpr bool kPermutes = true;
#elif defined(__AVX2__)
template <Real T>
inline constexpr bool kPermutes = sizeof(T) == 4;
#else
template <Real T>
inline constexpr bool kPermutes = false;
#endif

/// Lane i takes lane from[i] of x; every from[i] is a lane.
template <Real T>
HEED_INLINE Batch<T> permute(Batch<T> x, IndexBatch<T> from) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    return _mm512_permutexvar_ps(from, x);
  } else {
    return _mm512_permutexvar_pd(from, x);
  }
#else
#if defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return _mm256_permutevar8x32_ps(x, from);
#endif
  alignas(64) T lanes[kLanes<T>], result[kLanes<T>];
  alignas(64) IndexLane<T> places[kLanes<T>];
  x.store_aligned(lanes);
  from.store_aligned(places);
  for (int i = 0; i < kLanes<T>; ++i) result[i] = lanes[places[i]];
  return Batch<T>::load_aligned(result);
#endif
}

/// (a0, b0, a1, b1, ...) over the full width: the low half, then the high half.
template <Real T>
HEED_INLINE std::pair<Batch<T>, Batch<T>> zip(Batch<T> a, Batch<T> b) {
  using Register = typename Batch<T>::register_type;
  constexpr auto lanes = std::make_index_sequence<std::size_t(kLanes<T>)>();
  return {Batch<T>(detail::zip_low(Register(a), Register(b), lanes)),
          Batch<T>(detail::zip_high(Register(a), Register(b), lanes))};
}

/// Exchanges the lanes of a with bit `Bit` set for the lanes of b with it clear: one step of a transpose.
template <int Bit, Real T>
HEED_INLINE void exchange(Batch<T>& a, Batch<T>& b) {
  using Register = typename Batch<T>::register_type;
  [&]<std::size_t... I>(Register x, Register y, std::index_sequence<I...>) {
    constexpr int w = int(sizeof...(I));
    a = Batch<T>(__builtin_shufflevector(x, y, (int(I) & Bit ? w + (int(I) ^ Bit) : int(I))...));
    b = Batch<T>(__builtin_shufflevector(x, y, (int(I) & Bit ? w + int(I) : int(I) ^ Bit)...));
  }
  (Register(a), Register(b), std::make_index_sequence<std::size_t(kLanes<T>)>());
}

/// Lanes with bit `Bit` clear hold a_i + a_(i ^ Bit), the others b_i + b_(i ^ Bit): a blend, one shuffle and an
/// addition.
template <int Bit, Real T>
HEED_INLINE Batch<T> fold(Batch<T> a, Batch<T> b) {
  using Register = typename Batch<T>::register_type;
  return []<std::size_t... I>(Register x, Register y, std::index_sequence<I...>) {
    constexpr int w = int(sizeof...(I));
    const Register own = __builtin_shufflevector(x, y, (int(I) & Bit ? w + int(I) : int(I))...);
    const Register other = __builtin_shufflevector(x, y, (int(I) & Bit ? w + (int(I) ^ Bit) : int(I) ^ Bit)...);
    return Batch<T>(own) + Batch<T>(other);
  }
  (Register(a), Register(b), std::make_index_sequence<std::size_t(kLanes<T>)>());
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
