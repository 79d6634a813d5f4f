// SPDX-License-Identifier: Apache-2.0
// A few rows against many: dot products with the lanes along the width, and weighted sums of rows. This is what reads a
// cache once for all the rows that share it, at the speed of memory.
#pragma once

#include <algorithm>

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Row stride of the padded rows that row_dot and row_mix work on: a multiple of a batch.
template <Real T>
constexpr Index padded(Index width) {
  return (width + simd::kLanes<T> - 1) / simd::kLanes<T> * simd::kLanes<T>;
}

/// How far ahead rows are fetched into the second-level cache while several rows of queries work on the current ones:
/// the denser the arithmetic, the fewer lines of the stream are in flight on their own (0.70 of the read bandwidth
/// without this for four rows, 0.9 with it; one row does without).
inline constexpr Index kFetchAhead = 6144;  // bytes

/// From so many rows on the arithmetic takes as long as the memory: what comes next is then fetched at an even pace
/// (Upcoming), and values are mixed strip by strip, so that each comes to the first-level cache once for all rows.
inline constexpr Index kManyRows = 8;

/// Values that all rows pass over before the next ones: they stay in the first-level cache for the second pass on.
inline constexpr Index kMixKeys = 16;
/// The same for kManyRows: sums are loaded and stored once for so many keys.
inline constexpr Index kMixKeysOfMany = 64;

namespace detail {

template <class U>
Index fetch_distance(Index width, Index stride) {
  return (kFetchAhead / Index(sizeof(U)) + width - 1) / width * stride;
}

template <class U>
HEED_INLINE void fetch_row(const U* row, Index width) {
#if defined(__GNUC__)
  for (Index d = 0; d < width; d += Index(64 / sizeof(U))) __builtin_prefetch(row + d, 0, 2);
#else
  (void)row, (void)width;
#endif
}

// Lane g * (kLanes / G) + x is the dot product of row g and key x. Key by key, because memory is read at its full speed
// only in order: 14 GB/s with the rows of keys interleaved, 24 to 32 with one after the other. The rows are interleaved
// (interleave_rows), so that one address register serves all of them: with one each, g++ spills.
template <int G, Real T, class U, class KeyAt>
HEED_INLINE simd::Batch<T> dot_block(const T* q, Index width, KeyAt&& key_at) {
  using simd::Batch;
  constexpr int w = simd::kLanes<T>, kKeys = w / G;
  Batch<T> acc[w];
#pragma GCC unroll 16
  for (int i = 0; i < w; ++i) acc[i] = Batch<T>(T(0));
  // Two keys at a time share each load of the rows: with one the loads, not the multiply-adds, would set the pace.
  constexpr int kTogether = G > 1 && kKeys % 2 == 0 ? 2 : 1;
  const auto dot = [&](const U* key, const U* other, Batch<T>* sum) {
    const T* row = q;
    const auto step = [&](auto&& load) {
      Batch<T> k[2];
      k[0] = simd::in_register<T>(load(key));
      if constexpr (kTogether == 2) k[1] = simd::in_register<T>(load(other));
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const Batch<T> query = simd::in_register<T>(simd::load_aligned(row + g * w));
#pragma GCC unroll 2
        for (int x = 0; x < kTogether; ++x) sum[g * kKeys + x] = simd::fma(query, k[x], sum[g * kKeys + x]);
      }
      row += G * w;
      key += w;
      other += w;
    };
    Index d = 0;
    for (; d + w <= width; d += w) step([](const U* address) { return simd::load_as<T>(address); });
    if (d < width) step([&](const U* address) { return simd::load_partial<T>(address, width - d); });
  };
  [&]<std::size_t... X>(std::index_sequence<X...>) {
    (dot(key_at(int(X) * kTogether), key_at(int(X) * kTogether + kTogether - 1), acc + X * kTogether), ...);
  }
  (std::make_index_sequence<std::size_t(kKeys / kTogether)>());
  return simd::reduce_add_rows<T>(acc);
}

// Lane (g, x) of row b becomes lane (b, x) of row g, for G rows and lanes of G times `Keys`.
template <int G, int Keys, Real T>
HEED_INLINE void transpose_blocks(simd::Batch<T>* rows) {
  if constexpr (G >= 2) {
#pragma GCC unroll 4
    for (int i = 0; i < G; i += 2) simd::exchange<Keys, T>(rows[i], rows[i + 1]);
  }
  if constexpr (G >= 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 2; ++i) simd::exchange<2 * Keys, T>(rows[i], rows[i + 2]);
  }
}

template <int G, Real T, class U>
HEED_NOINLINE void dot_group(const T* q, const U* keys, Index key_stride, Index count, Index width, T* score,
                             Index score_stride, Index ahead, const Upcoming& next) {
  constexpr Index w = simd::kLanes<T>;
  constexpr int kKeys = int(w) / G;
  for (Index j = 0; j < count; j += w) {
    // Whole batches are stored, so that the next pass, which loads whole batches, need not wait for pieces of one. In
    // place of keys that do not exist the last one is taken again.
    simd::Batch<T> rows[G];
    const auto block = [&](int b, auto&& key_at) {
      if (ahead != 0)
        for (int x = 0; x < kKeys; ++x) fetch_row(key_at(x) + ahead, width);
      next.fetch(j + b * kKeys, kKeys);
      rows[b] = dot_block<G, T, U>(q, width, key_at);
    };
    if (j + w <= count) {
#pragma GCC unroll 4
      for (int b = 0; b < G; ++b)
        block(b, [first = keys + (j + b * kKeys) * key_stride, key_stride](int x) { return first + x * key_stride; });
    } else {
      for (int b = 0; b < G; ++b)
        block(b, [&, b](int x) { return keys + std::min(j + b * kKeys + x, count - 1) * key_stride; });
    }
    transpose_blocks<G, kKeys, T>(rows);
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) rows[g].store_aligned(score + g * score_stride + j);
  }
}

// o[g][d] += sum over j of p[g][j] * values[j][d], with C batches of columns of G rows in registers. Fetches the rows
// of `next`, or values `ahead` of those that are read.
template <int G, int C, bool kTail, bool kNext, Real T, class U>
HEED_INLINE void mix_columns(const T* p, Index p_stride, const U* values, Index value_stride, Index count, Index rest,
                             T* o, Index o_stride, Index ahead, const Upcoming& next) {
  using simd::Batch;
  constexpr Index w = simd::kLanes<T>;
  Batch<T> acc[G][C];
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[g][c] = simd::load_aligned(o + g * o_stride + c * w);
  for (Index j = 0; j < count; ++j) {
    if constexpr (kNext) {
      next.fetch(j, 1);
    } else if (ahead != 0) {
      fetch_row(values + ahead, C * w);
    }
    Batch<T> v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      v[c] =
          simd::in_register<T>(kTail ? simd::load_partial<T>(values + c * w, rest) : simd::load_as<T>(values + c * w));
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

template <int G, int C, bool kNext, Real T, class U>
HEED_NOINLINE void mix_group(const T* p, Index p_stride, const U* values, Index value_stride, Index count, Index width,
                             T* o, Index o_stride, Index ahead, const Upcoming& next) {
  constexpr Index w = simd::kLanes<T>;
  Index d = 0;
  for (; d + C * w <= width; d += C * w)
    mix_columns<G, C, false, kNext>(p, p_stride, values + d, value_stride, count, 0, o + d, o_stride, ahead, next);
  for (; d + w <= width; d += w)
    mix_columns<G, 1, false, kNext>(p, p_stride, values + d, value_stride, count, 0, o + d, o_stride, ahead, next);
  if (d < width)
    mix_columns<G, 1, true, kNext>(p, p_stride, values + d, value_stride, count, width - d, o + d, o_stride, ahead,
                                   next);
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

/// Rows of `width` elements, `stride` apart, as row_dot reads them: groups of 4, 2 and 1 rows, batch by batch, padded
/// with zeros to padded(width) elements a row.
template <Real T>
void interleave_rows(const T* rows, Index stride, Index count, Index width, T* interleaved) {
  constexpr Index w = simd::kLanes<T>;
  detail::for_row_groups<T>(count, [&]<int G>(Index first) {
    T* group = interleaved + first * padded<T>(width);
    for (Index d = 0; d < width; d += w)
      for (Index g = 0; g < G; ++g) {
        const T* from = rows + (first + g) * stride + d;
        const auto x = width - d >= w ? simd::load(from) : simd::load_partial<T>(from, width - d);
        x.store_aligned(group + d * G + g * w);
      }
  });
}

/// score[g][j] = sum over d of q[g][d] * keys[j * key_stride + d], for `rows` rows g, interleaved by interleave_rows,
/// and `count` keys j. Scores are aligned and have room for whole batches of keys. The keys' storage is widened in
/// registers. Meanwhile `count` rows of `next` are fetched; without any, those that follow the keys.
template <Real T, class U>
void row_dot(const T* q, Index rows, const U* keys, Index key_stride, Index count, Index width, T* score,
             Index score_stride, const Upcoming& next = {}) {
  detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
    const Index ahead = next.rows == 0 && g == 0 && G > 1 ? detail::fetch_distance<U>(width, key_stride) : 0;
    detail::dot_group<G, T>(q + g * padded<T>(width), keys, key_stride, count, width, score + g * score_stride,
                            score_stride, ahead, next.part(g, G, rows));
  });
}

/// o[g][d] += sum over j of p[g][j] * values[j * value_stride + d], for `rows` rows g and `count` values j. o is
/// aligned and padded to padded(width). kManyRows fetch `count` rows of `next` meanwhile.
template <Real T, class U>
void row_mix(const T* p, Index p_stride, Index rows, const U* values, Index value_stride, Index count, Index width,
             T* o, Index o_stride, const Upcoming& next = {}) {
  constexpr int kColumns = simd::kRegisters == 32 ? 8 : 4;
  if (rows >= kManyRows) {
    // Strip by strip: its values come to the first-level cache once for all rows.
    constexpr Index widest = kColumns / 2 * simd::kLanes<T>;
    for (Index j = 0; j < count; j += kMixKeysOfMany) {
      const Index keys = std::min(kMixKeysOfMany, count - j);
      for (Index d = 0; d < width; d += widest) {
        const Index strip = std::min(widest, width - d);
        detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
          detail::mix_group<G, kColumns / 2, true, T>(p + g * p_stride + j, p_stride, values + j * value_stride + d,
                                                      value_stride, keys, strip, o + g * o_stride + d, o_stride, 0,
                                                      next.part(d * rows + g * strip, G * strip, rows * width).from(j));
        });
      }
    }
    return;
  }
  for (Index j = 0; j < count; j += kMixKeys) {
    const Index keys = std::min(kMixKeys, count - j);
    const T* weights = p + j;
    const U* block = values + j * value_stride;
    Index g = 0;
    for (; g + 2 <= rows; g += 2)
      detail::mix_group<2, kColumns, false, T>(weights + g * p_stride, p_stride, block, value_stride, keys, width,
                                               o + g * o_stride, o_stride,
                                               g == 0 ? detail::fetch_distance<U>(width, value_stride) : 0, {});
    if (g < rows)
      detail::mix_group<1, kColumns, false, T>(weights + g * p_stride, p_stride, block, value_stride, keys, width,
                                               o + g * o_stride, o_stride, 0, {});
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
