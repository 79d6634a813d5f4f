// SPDX-License-Identifier: Apache-2.0
// A few rows against many: dot products with the lanes along the width, and weighted sums of rows. This is what reads a
// cache once for all the rows that share it, at the speed of memory.
#pragma once

#include "heed/simd/convert.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Row stride of the padded rows that row_dot and row_mix work on: a multiple of a batch.
template <Real T>
constexpr Index padded(Index width) {
  return (width + simd::kLanes<T> - 1) / simd::kLanes<T> * simd::kLanes<T>;
}

namespace detail {

template <Real T, class U>
HEED_INLINE simd::Batch<T> load_upto(const U* address, Index count) {
  return count >= simd::kLanes<T> ? simd::load_as<T>(address) : simd::load_partial<T>(address, count);
}

// Rows further ahead than the hardware prefetchers look, into the second-level cache.
template <class U>
HEED_INLINE void prefetch_row(const U* row, Index width) {
#if defined(__GNUC__)
  for (Index d = 0; d < width; d += Index(64 / sizeof(U))) __builtin_prefetch(row + d, 0, 2);
#else
  (void)row, (void)width;
#endif
}
inline constexpr Index kPrefetchBytes = 8192;

// KB x G dot products, reduced by one transpose-add tree: score[g][key] for KB = kLanes / G keys.
template <int G, Real T, class U>
HEED_INLINE void dot_block(const T* q, Index q_stride, const U* const* keys, Index width, T* score,
                           Index score_stride) {
  using simd::Batch;
  constexpr int w = simd::kLanes<T>, kKeys = w / G;
  Batch<T> acc[w];
#pragma GCC unroll 16
  for (int i = 0; i < w; ++i) acc[i] = Batch<T>(T(0));
  const auto step = [&](Index d, auto&& load) {
    Batch<T> k[kKeys];
#pragma GCC unroll 16
    for (int x = 0; x < kKeys; ++x) k[x] = load(keys[x] + d);
#pragma GCC unroll 16
    for (int g = 0; g < G; ++g) {
      const Batch<T> query = simd::load_aligned(q + g * q_stride + d);
#pragma GCC unroll 16
      for (int x = 0; x < kKeys; ++x) acc[g * kKeys + x] = simd::fma(query, k[x], acc[g * kKeys + x]);
    }
  };
  Index d = 0;
  for (; d + w <= width; d += w) step(d, [](const U* address) { return simd::load_as<T>(address); });
  if (d < width) step(d, [&](const U* address) { return simd::load_partial<T>(address, width - d); });
  alignas(64) T sums[w];
  simd::reduce_add_rows<T>(acc).store_aligned(sums);
#pragma GCC unroll 16
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 16
    for (int x = 0; x < kKeys; ++x) score[g * score_stride + x] = sums[g * kKeys + x];
}

template <int G, Real T, class U>
HEED_NOINLINE void dot_group(const T* q, Index q_stride, const U* keys, Index key_stride, Index count, Index readable,
                             Index width, T* score, Index score_stride) {
  constexpr Index kKeys = simd::kLanes<T> / G;
  const Index ahead = kPrefetchBytes / Index(sizeof(U)) / std::max<Index>(width, 1);
  const U* block[kKeys];
  Index j = 0;
  for (; j + kKeys <= count; j += kKeys) {
    for (Index x = 0; x < kKeys; ++x) {
      block[x] = keys + (j + x) * key_stride;
      if (j + x + ahead < readable) prefetch_row(block[x] + ahead * key_stride, width);
    }
    dot_block<G, T>(q, q_stride, block, width, score + j, score_stride);
  }
  if (j < count) {  // the last keys again in place of those that do not exist
    alignas(64) T rest[simd::kLanes<T>];
    for (Index x = 0; x < kKeys; ++x) block[x] = keys + std::min(j + x, count - 1) * key_stride;
    dot_block<G, T>(q, q_stride, block, width, rest, kKeys);
    for (int g = 0; g < G; ++g)
      for (Index x = 0; j + x < count; ++x) score[g * score_stride + j + x] = rest[g * kKeys + x];
  }
}

// o[g][d] += sum over j of p[g][j] * values[j][d], with C batches of columns of G rows in registers.
template <int G, int C, bool kTail, Real T, class U>
HEED_INLINE void mix_columns(const T* p, Index p_stride, const U* values, Index value_stride, Index count, Index rest,
                             T* o, Index o_stride) {
  using simd::Batch;
  constexpr Index w = simd::kLanes<T>;
  Batch<T> acc[G][C];
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[g][c] = simd::load_aligned(o + g * o_stride + c * w);
  for (Index j = 0; j < count; ++j) {
    Batch<T> v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      v[c] = kTail ? simd::load_partial<T>(values + c * w, rest) : simd::load_as<T>(values + c * w);
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) {
      const Batch<T> weight = simd::load_broadcast(p + g * p_stride + j);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[g][c] = simd::fma(weight, v[c], acc[g][c]);
    }
    values += value_stride;
  }
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[g][c].store_aligned(o + g * o_stride + c * w);
}

template <int G, Real T, class U>
HEED_NOINLINE void mix_group(const T* p, Index p_stride, const U* values, Index value_stride, Index count, Index width,
                             T* o, Index o_stride) {
  constexpr Index w = simd::kLanes<T>;
  constexpr int kColumns = simd::kRegisters == 32 ? (G >= 4 ? 4 : 8) : (G >= 4 ? 2 : 4);
  Index d = 0;
  for (; d + kColumns * w <= width; d += kColumns * w)
    mix_columns<G, kColumns, false>(p, p_stride, values + d, value_stride, count, 0, o + d, o_stride);
  for (; d + w <= width; d += w)
    mix_columns<G, 1, false>(p, p_stride, values + d, value_stride, count, 0, o + d, o_stride);
  if (d < width) mix_columns<G, 1, true>(p, p_stride, values + d, value_stride, count, width - d, o + d, o_stride);
}

// Calls f.operator()<G>(row) over `rows` rows in groups of 4, 2 and 1.
template <Real T, class F>
HEED_INLINE void for_row_groups(Index rows, F&& f) {
  Index g = 0;
  if constexpr (simd::kLanes<T> >= 4)
    for (; g + 4 <= rows; g += 4) f.template operator()<4>(g);
  for (; g + 2 <= rows; g += 2) f.template operator()<2>(g);
  for (; g < rows; ++g) f.template operator()<1>(g);
}

}  // namespace detail

/// score[g][j] = sum over d of q[g][d] * keys[j * key_stride + d], for `rows` rows g and `count` keys j. q is padded
/// with zeros to padded(width) and aligned; the keys' storage is widened in registers. Of the keys up to `readable` >=
/// count, which the caller will come to next, some are prefetched.
template <Real T, class U>
void row_dot(const T* q, Index q_stride, Index rows, const U* keys, Index key_stride, Index count, Index readable,
             Index width, T* score, Index score_stride) {
  detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
    detail::dot_group<G, T>(q + g * q_stride, q_stride, keys, key_stride, count, readable, width,
                            score + g * score_stride, score_stride);
  });
}

/// o[g][d] += sum over j of p[g][j] * values[j * value_stride + d], for `rows` rows g and `count` values j. o is
/// aligned and padded to padded(width).
template <Real T, class U>
void row_mix(const T* p, Index p_stride, Index rows, const U* values, Index value_stride, Index count, Index width,
             T* o, Index o_stride) {
  detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
    detail::mix_group<G, T>(p + g * p_stride, p_stride, values, value_stride, count, width, o + g * o_stride, o_stride);
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
