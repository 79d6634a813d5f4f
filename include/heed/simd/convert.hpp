// SPDX-License-Identifier: Apache-2.0
// Loads that widen: storage types, bytes and partial rows into batches, and back.
#pragma once

#include <bit>
#include <cstring>

#include "heed/simd/batch.hpp"

// As in batch.hpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace heed::inline HEED_ISA {

namespace simd {

/// One element of storage U as T.
template <Real T, class U>
HEED_INLINE T widen(U x) {
  if constexpr (std::same_as<U, bfloat16>) {
    return T(std::bit_cast<float>(std::uint32_t(std::bit_cast<std::uint16_t>(x)) << 16));
  } else {
    return static_cast<T>(x);
  }
}

/// kLanes<T> neighbouring elements of storage U as T, from any address.
template <Real T, class U>
HEED_INLINE Batch<T> load_as(const U* address) {
  if constexpr (std::same_as<T, U>) {
    return load(address);
  } else {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
    if constexpr (std::same_as<T, float> && std::same_as<U, bfloat16>) {
      const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(address));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
    } else if constexpr (std::same_as<T, float> && std::same_as<U, half>) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(address)));
    } else if constexpr (std::same_as<T, float> && sizeof(U) == 1 && std::is_unsigned_v<U>) {
      const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(address));
      return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(raw));
    }
#elif defined(__AVX2__) && defined(__FMA__)
    if constexpr (std::same_as<T, float> && std::same_as<U, bfloat16>) {
      const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(address));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
    }
#if defined(__F16C__)
    if constexpr (std::same_as<T, float> && std::same_as<U, half>) {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(address)));
    }
#endif
#endif
    alignas(64) T lanes[kLanes<T>];
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = widen<T>(address[i]);
    return load_aligned(lanes);
  }
}

/// The first `count` < kLanes elements of storage U as T, zeros behind them; nothing beyond `count` is read.
template <Real T, class U>
HEED_INLINE Batch<T> load_partial(const U* address, Index count) {
#if defined(__AVX512F__)
  if constexpr (std::same_as<T, U> && std::same_as<T, float>) {
    return _mm512_maskz_loadu_ps(__mmask16((1u << unsigned(count)) - 1u), address);
  }
  if constexpr (std::same_as<T, U> && std::same_as<T, double>) {
    return _mm512_maskz_loadu_pd(__mmask8((1u << unsigned(count)) - 1u), address);
  }
#endif
  alignas(64) T lanes[kLanes<T>] = {};
  for (Index i = 0; i < count; ++i) lanes[i] = widen<T>(address[i]);
  return load_aligned(lanes);
}

/// The first `count` <= kLanes lanes to storage U; nothing beyond them is written.
template <Real T, class U>
HEED_INLINE void store_partial(Batch<T> x, U* address, Index count) {
  if constexpr (std::same_as<T, U>) {
    if (count == kLanes<T>) {
      x.store_unaligned(address);
      return;
    }
#if defined(__AVX512F__)
    if constexpr (std::same_as<T, float>) {
      _mm512_mask_storeu_ps(address, __mmask16((1u << unsigned(count)) - 1u), x);
    } else {
      _mm512_mask_storeu_pd(address, __mmask8((1u << unsigned(count)) - 1u), x);
    }
    return;
#endif
  }
  alignas(64) T lanes[kLanes<T>];
  x.store_aligned(lanes);
  for (Index i = 0; i < count; ++i) address[i] = static_cast<U>(lanes[i]);
}

/// Lane i from address[i * stride], for the first `count` lanes; the others are 0.
template <Real T, class U>
HEED_INLINE Batch<T> load_strided(const U* address, Index stride, Index count) {
  if (stride == 0) return Batch<T>(widen<T>(*address));
  if (stride == 1 && count >= kLanes<T>) return load_as<T>(address);
  alignas(64) T lanes[kLanes<T>] = {};
  const Index n = count < kLanes<T> ? count : Index(kLanes<T>);
  for (Index i = 0; i < n; ++i) lanes[i] = widen<T>(address[i * stride]);
  return load_aligned(lanes);
}

/// Lane i from address[i * stride] as an integer, for the first `count` lanes; the others are 0.
template <Real T>
HEED_INLINE IndexBatch<T> load_integers(const std::int32_t* address, Index stride, Index count) {
  if (stride == 0) return IndexBatch<T>(IndexLane<T>(*address));
  if constexpr (std::same_as<IndexLane<T>, std::int32_t>) {
    if (stride == 1 && count >= kLanes<T>) return IndexBatch<T>::load_unaligned(address);
  }
  alignas(64) IndexLane<T> lanes[kLanes<T>] = {};
  const Index n = count < kLanes<T> ? count : Index(kLanes<T>);
  for (Index i = 0; i < n; ++i) lanes[i] = IndexLane<T>(address[i * stride]);
  return IndexBatch<T>::load_aligned(lanes);
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
