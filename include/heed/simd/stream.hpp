// SPDX-License-Identifier: Apache-2.0
// Stores that pass by the caches, for results larger than these.
#pragma once

#include <cstring>

#include "heed/simd/batch.hpp"

namespace heed::inline HEED_ISA {

namespace simd {

/// What the target and the size of a stream() are multiples of, in bytes: a line of the cache.
inline constexpr std::size_t kStreamAlignment = 64;

/// Copies `bytes` bytes to an aligned `to` past the caches where the instruction set can (x86), and plainly elsewhere.
/// A plain store first fetches the line that it overwrites: a map of 26 MB times a gate per channel takes 1.1 to 1.2
/// times as long with those.
inline void stream(const void* from, std::size_t bytes, void* to) {
#if defined(__AVX512F__)
  for (std::size_t i = 0; i < bytes / sizeof(__m512i); ++i)
    _mm512_stream_si512(static_cast<__m512i*>(to) + i, _mm512_loadu_si512(static_cast<const __m512i*>(from) + i));
#elif defined(__AVX__)
  for (std::size_t i = 0; i < bytes / sizeof(__m256i); ++i)
    _mm256_stream_si256(static_cast<__m256i*>(to) + i, _mm256_loadu_si256(static_cast<const __m256i*>(from) + i));
#elif defined(__SSE2__)
  for (std::size_t i = 0; i < bytes / sizeof(__m128i); ++i)
    _mm_stream_si128(static_cast<__m128i*>(to) + i, _mm_loadu_si128(static_cast<const __m128i*>(from) + i));
#else
  std::memcpy(to, from, bytes);
#endif
}

/// Behind the last stream() of a thread: makes what it stored visible to the others.
inline void end_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA
