// SPDX-License-Identifier: Apache-2.0
// Across the lanes: sums, maxima, and the in-register transpose.
#pragma once

#include <cstdint>
#include <type_traits>

#include "heed/simd/batch.hpp"

// As in batch.hpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace heed::inline HEED_ISA {

namespace simd {

/// The sum of the lanes, halves added to halves: the same order for every caller.
template <Real T>
HEED_INLINE T reduce_add(Batch<T> x) {
  alignas(64) T lanes[kLanes<T>];
  x.store_aligned(lanes);
  for (int width = kLanes<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

/// The largest lane; NaN if there is one.
template <Real T>
HEED_INLINE T reduce_max(Batch<T> x) {
  alignas(64) T lanes[kLanes<T>];
  x.store_aligned(lanes);
  for (int width = kLanes<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) {
      const T x = lanes[i + width];
      lanes[i] = x > lanes[i] || x != x ? x : lanes[i];
    }
  return lanes[0];
}

/// Bit i: whether lane i is set.
template <Real T>
HEED_INLINE std::uint64_t lane_bits(Mask<T> x) {
#if defined(__AVX512F__)
  return x;
#else
  if constexpr (requires { x.mask(); }) {
    return x.mask();
  } else {  // xsimd 8.1
    bool lanes[kLanes<T>];
    x.store_unaligned(lanes);
    std::uint64_t bits = 0;
    for (int i = 0; i < kLanes<T>; ++i) bits |= std::uint64_t(lanes[i]) << i;
    return bits;
  }
#endif
}

namespace detail {
template <int Half, Real T>
HEED_INLINE void fold_rows(Batch<T>* rows) {
  if constexpr (Half > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < Half; ++i) rows[i] = fold<Half, T>(rows[i], rows[i + Half]);
    fold_rows<Half / 2, T>(rows);
  }
}
}  // namespace detail

/// Lane i of the result is the sum of the lanes of rows[i]: a tree of kLanes - 1 folds. The rows are overwritten.
template <Real T>
HEED_INLINE Batch<T> reduce_add_rows(Batch<T> (&rows)[kLanes<T>]) {
  detail::fold_rows<kLanes<T> / 2, T>(rows);
  return rows[0];
}

/// The transpose of a square of kLanes x kLanes: log2(kLanes) perfect shuffles.
template <Real T>
HEED_INLINE void transpose(Batch<T> (&rows)[kLanes<T>]) {
  constexpr int kHalf = kLanes<T> / 2;
#pragma GCC unroll 8
  for (int step = 1; step < kLanes<T>; step *= 2) {
    Batch<T> shuffled[kLanes<T>];
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
      const auto [low, high] = zip<T>(rows[i], rows[i + kHalf]);
      shuffled[2 * i] = low;
      shuffled[2 * i + 1] = high;
    }
#pragma GCC unroll 32
    for (int i = 0; i < kLanes<T>; ++i) rows[i] = shuffled[i];
  }
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
