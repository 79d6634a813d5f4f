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

/// Bytes that a last-level cache may hold.
inline constexpr Index kCachedBytes = Index(32) << 20;

/// How far ahead row_dot and row_mix should fetch, in rows, for `rows` rows of queries on `bytes` of keys and values: 6
/// KiB. The denser the arithmetic, the fewer lines of the stream are in flight on their own: from memory four heads on
/// one key of 128 take twice as long without this, one head 1.1 to 2 times. From a cache it costs one head a quarter
/// more, and several heads nothing.
template <class U>
constexpr Index rows_ahead(Index rows, Index width, Index bytes) {
  if (rows == 1 && bytes <= kCachedBytes) return 0;
  return (Index(6144 / sizeof(U)) + width - 1) / std::max<Index>(width, 1);
}

/// From so many rows on the arithmetic takes as long as the memory: what comes next is then fetched at an even pace
/// (Upcoming), and values are mixed strip by strip, so that each comes to the first-level cache once for all rows.
inline constexpr Index kManyRows = 8;

/// Values that all rows mix before the next ones, and bytes of them for four rows and more, which go strip by strip:
/// sums are loaded and stored once for so many, but the fewer, the more in order memory is read.
inline constexpr Index kMixKeys = 16, kMixBytes = 4096;
/// The same for kManyRows, in keys.
inline constexpr Index kMixKeysOfMany = 64;

namespace detail {

template <class U>
HEED_INLINE void fetch_row(const U* row, Index width) {
#if defined(__GNUC__)
  for (Index d = 0; d < width; d += Index(64 / sizeof(U))) __builtin_prefetch(row + d, 0, 2);
#else
  (void)row, (void)width;
#endif
}

// sum[g * kKeys] += the products of row g, batch by batch, with a key, and sum[g * kKeys + 1] with another one.
template <int G, int kTogether, bool kAhead, Real T, class U>
HEED_INLINE void dot_keys(const T* q, Index width, const U* key, const U* other, Index ahead, simd::Batch<T>* sum) {
  using simd::Batch;
  constexpr int w = simd::kLanes<T>, kKeys = w / G;
  const auto step = [&](auto&& load) {
    if constexpr (kAhead) {  // at an even pace: lines that are asked for in bursts wait for each other
      fetch_row(key + ahead, w);
      if constexpr (kTogether == 2) fetch_row(other + ahead, w);
    }
    Batch<T> k[2];
    k[0] = simd::in_register<T>(load(key));
    if constexpr (kTogether == 2) k[1] = simd::in_register<T>(load(other));
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      const Batch<T> query = simd::in_register<T>(simd::load_aligned(q + g * w));
#pragma GCC unroll 2
      for (int x = 0; x < kTogether; ++x) sum[g * kKeys + x] = simd::fma(query, k[x], sum[g * kKeys + x]);
    }
    q += G * w;
    key += w;
    other += w;
  };
  Index d = 0;
  for (; d + w <= width; d += w) step([](const U* address) { return simd::load_as<T>(address); });
  if (d < width) step([&](const U* address) { return simd::load_partial<T>(address, width - d); });
}

// Lane g * (kLanes / G) + x is the dot product of row g and key x, of `count` keys; in place of keys that do not exist
// the last one is taken again. Key by key, because memory is read at its full speed only in order: 14 GB/s with the
// rows of keys interleaved, 24 to 32 with one after the other. The rows are interleaved (interleave_rows), so that one
// address register serves all of them: with one each, g++ spills, as it does where it inlines this.
template <int G, bool kAhead, Real T, class U>
HEED_NOINLINE simd::Batch<T> dot_block(const T* q, Index width, const U* keys, Index key_stride, Index count,
                                       Index ahead) {
  constexpr int w = simd::kLanes<T>, kKeys = w / G;
  simd::Batch<T> acc[w];
#pragma GCC unroll 16
  for (int i = 0; i < w; ++i) acc[i] = simd::Batch<T>(T(0));
  // Two keys at a time share each load of the rows: with one the loads, not the multiply-adds, would set the pace.
  constexpr int kTogether = G > 1 && kKeys % 2 == 0 ? 2 : 1;
  const auto behind = [&](const U* key, int x) { return x + 1 < count ? key + key_stride : key; };
#pragma GCC unroll 16
  for (int x = 0; x < kKeys; x += kTogether) {
    const U* const other = kTogether == 2 ? behind(keys, x) : keys;
    dot_keys<G, kTogether, kAhead>(q, width, keys, other, ahead, acc + x);
    keys = behind(other, x + kTogether - 1);
  }
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

template <int G, bool kAhead, Real T, class U>
HEED_NOINLINE void dot_group(const T* q, const U* keys, Index key_stride, Index count, Index width, T* score,
                             Index score_stride, Index ahead, const Upcoming& next) {
  constexpr Index w = simd::kLanes<T>, kKeys = w / G;
  for (Index j = 0; j < count; j += w) {
    // Whole batches are stored, so that the next pass, which loads whole batches, need not wait for pieces of one.
    simd::Batch<T> rows[G];
#pragma GCC unroll 4
    for (int b = 0; b < G; ++b) {
      next.fetch(j + b * kKeys, kKeys);
      const Index first = std::min(j + b * kKeys, count - 1);
      rows[b] = dot_block<G, kAhead, T>(q, width, keys + first * key_stride, key_stride, count - first, ahead);
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
/// registers. Meanwhile the keys `ahead` rows further on are fetched, if not 0, and `count` rows of `next`.
template <Real T, class U>
void row_dot(const T* q, Index rows, const U* keys, Index key_stride, Index count, Index width, T* score,
             Index score_stride, Index ahead = 0, const Upcoming& next = {}) {
  detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
    const auto dot = [&]<bool kAhead> {
      detail::dot_group<G, kAhead, T>(q + g * padded<T>(width), keys, key_stride, count, width,
                                      score + g * score_stride, score_stride, ahead * key_stride,
                                      next.part(g, G, rows));
    };
    if (ahead != 0 && g == 0)
      dot.template operator()<true>();
    else
      dot.template operator()<false>();
  });
}

/// o[g][d] += sum over j of p[g][j] * values[j * value_stride + d], for `rows` rows g and `count` values j. o is
/// aligned and padded to padded(width). Meanwhile the values `ahead` rows further on are fetched, if not 0, or, by
/// kManyRows, `count` rows of `next`.
template <Real T, class U>
void row_mix(const T* p, Index p_stride, Index rows, const U* values, Index value_stride, Index count, Index width,
             T* o, Index o_stride, Index ahead = 0, const Upcoming& next = {}) {
  // Strip by strip, so that its values come to the first-level cache once for all rows.
  constexpr int kColumns = simd::kRegisters == 32 ? 8 : 4, kStrip = kColumns / 2;
  if (rows >= kManyRows) {
    constexpr Index widest = kStrip * simd::kLanes<T>;
    for (Index j = 0; j < count; j += kMixKeysOfMany) {
      const Index keys = std::min(kMixKeysOfMany, count - j);
      for (Index d = 0; d < width; d += widest) {
        const Index strip = std::min(widest, width - d);
        detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
          detail::mix_group<G, kStrip, true, T>(p + g * p_stride + j, p_stride, values + j * value_stride + d,
                                                value_stride, keys, strip, o + g * o_stride + d, o_stride, 0,
                                                next.part(d * rows + g * strip, G * strip, rows * width).from(j));
        });
      }
    }
    return;
  }
  const Index step =
      rows < 4 ? kMixKeys : std::clamp<Index>(kMixBytes / std::max<Index>(width * Index(sizeof(U)), 1), 4, kMixKeys);
  for (Index j = 0; j < count; j += step) {
    const Index keys = std::min(step, count - j);
    detail::for_row_groups<T>(rows, [&]<int G>(Index g) {
      detail::mix_group<G, G == 4 ? kStrip : kColumns, false, T>(
          p + g * p_stride + j, p_stride, values + j * value_stride, value_stride, keys, width, o + g * o_stride,
          o_stride, g == 0 ? ahead * value_stride : 0, {});
    });
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
