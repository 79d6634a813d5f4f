// SPDX-License-Identifier: Apache-2.0
// Panels: matrices of a few batches' width, and their products with rows of scalars.
//
// A panel has kPanelWidth<T> columns in memory, of which a kernel works on NV batches. Both products broadcast the
// scalar operand, so that it is read in place at any row stride and nothing is packed, and keep R x NV accumulators in
// registers.
#pragma once

#include <algorithm>
#include <cstddef>

#include "heed/simd/batch.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Batches side by side in a panel. Of the shapes that fit 32 registers, 6 x 4 and 8 x 3 are within two percent of each
/// other; 64 columns divide the usual sequence lengths better than 48.
inline constexpr int kPanelBatches = simd::kRegisters == 32 ? 4 : 2;

template <Real T>
inline constexpr int kPanelWidth = kPanelBatches* simd::kLanes<T>;

/// Rows of accumulators for NV batches: as many as leave registers for a row of the panel, a broadcast and, without
/// FMA, a product.
template <int NV>
inline constexpr int kMicroRows = simd::kRegisters == 32 && NV == 4   ? 6
                                  : NV == 2 && simd::kRegisters == 16 ? 6
                                                                      : 8;

/// Rows that are read later: a kernel fetches some of them into the second-level cache with every block of its own.
/// Rows that a broadcast reads are used for hundreds of cycles each, and no hardware prefetcher runs so far ahead (one
/// panel of 64 queries over 4096 keys: 0.63 of peak without, 0.83 with).
struct Upcoming {
  const std::byte* data = nullptr;
  Index stride = 0;  // bytes from row to row
  Index width = 0;   // bytes of a row
  Index rows = 0;

  /// The same rows, of each the share of `count` of `parts` that fetch them together.
  Upcoming part(Index first, Index count, Index parts) const {
    const Index lines = (width + 63) / 64, begin = lines * first / parts, end = lines * (first + count) / parts;
    return {data + begin * 64, stride, (end - begin) * 64, rows};
  }
  /// Fetches the share of all rows that `count` of `parts` make.
  HEED_INLINE void fetch_share(Index first, Index count, Index parts) const {
    if (rows > 0) fetch(rows * first / parts, rows * (first + count) / parts - rows * first / parts);
  }
  /// From a row on.
  Upcoming from(Index row) const { return {data + row * stride, stride, width, rows - row}; }

  HEED_INLINE void fetch(Index first, Index count) const {
#if defined(__GNUC__)
    for (Index row = first; row < std::min(first + count, rows); ++row)
      for (Index offset = 0; offset < width; offset += 64) __builtin_prefetch(data + row * stride + offset, 0, 2);
#else
    (void)first, (void)count;
#endif
  }
};
template <class U>
Upcoming upcoming(const U* rows, Index stride, Index count, Index width) {
  return {reinterpret_cast<const std::byte*>(rows), stride * Index(sizeof(U)), width * Index(sizeof(U)), count};
}

namespace detail {

using simd::Batch;

template <Real T, int R, int NV>
HEED_INLINE void clear(Batch<T> (&acc)[R][NV]) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = Batch<T>(T(0));
}

// acc[r][v] += sum over k of a(r, k) * b[k][v], where a(r, k) is a[r * row_step + k * depth_step].
template <Real T, int R, int NV>
HEED_INLINE void multiply(const T* a, Index row_step, Index depth_step, const T* b, Index depth,
                          Batch<T> (&acc)[R][NV]) {
  for (Index k = 0; k < depth; ++k) {
    Batch<T> row[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) row[v] = simd::in_register<T>(simd::load_aligned(b + v * simd::kLanes<T>));
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      const Batch<T> scalar = simd::load_broadcast(a + r * row_step);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = simd::fma(scalar, row[v], acc[r][v]);
    }
    a += depth_step;
    b += kPanelWidth<T>;
  }
}

// Calls step<R>(row) over `rows` rows in blocks of R, then of 4, 2 and 1.
template <int R, class Step>
HEED_INLINE void for_row_blocks(Index rows, Step&& step) {
  Index row = 0;
  for (; row + R <= rows; row += R) step.template operator()<R>(row);
  if constexpr (R > 8) {
    for (; row + 8 <= rows; row += 8) step.template operator()<8>(row);
  }
  if constexpr (R > 4) {
    for (; row + 4 <= rows; row += 4) step.template operator()<4>(row);
  }
  if constexpr (R > 2) {
    for (; row + 2 <= rows; row += 2) step.template operator()<2>(row);
  }
  for (; row < rows; ++row) step.template operator()<1>(row);
}

}  // namespace detail

/// c[j][i] = sum over d of a[j * a_stride + d] * b[d][i], for `rows` rows j and NV batches of columns i; b and c are
/// panels. With `added`, another panel, its elements are added to the sums. The column maxima are taken along:
/// highest[v] becomes the larger of itself and column batch v's results.
template <int NV, Real T>
HEED_NOINLINE void panel_dot(const T* a, Index a_stride, Index rows, const T* b, Index depth, T* c,
                             simd::Batch<T>* highest, const Upcoming& next = {}, const Upcoming& beside = {},
                             const T* added = nullptr) {
  using simd::Batch;
  detail::for_row_blocks<kMicroRows<NV>>(rows, [&]<int R>(Index j) {
    next.fetch(j, R);
    beside.fetch(j, R);
    Batch<T> acc[R][NV];
    detail::clear<T>(acc);
    detail::multiply<T>(a + j * a_stride, a_stride, 1, b, depth, acc);
    if (added) {
      const T* row = added + j * kPanelWidth<T>;
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v)
          acc[r][v] = acc[r][v] + simd::load_aligned(row + r * kPanelWidth<T> + v * simd::kLanes<T>);
    }
    // The maxima stay in memory between blocks: in registers they push the panel's row out of those, and every
    // multiply-add then loads it again.
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      Batch<T> top = highest[v];
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        acc[r][v].store_aligned(c + (j + r) * kPanelWidth<T> + v * simd::kLanes<T>);
        top = simd::max(top, acc[r][v]);
      }
      highest[v] = top;
    }
  });
}

/// c[d][i] = c[d][i] * scale[i] + sum over j of a[j * a_stride + d] * b[j][i], for `rows` rows d, `depth` rows j and NV
/// batches of columns i; b and c are panels. Without `scale` the old c counts as 0 and is not read. Meanwhile all rows
/// of `next` and `beside` are fetched.
template <int NV, Real T>
HEED_NOINLINE void panel_accumulate(const T* a, Index a_stride, Index rows, const T* b, Index depth, T* c,
                                    const simd::Batch<T>* scale, const Upcoming& next = {},
                                    const Upcoming& beside = {}) {
  using simd::Batch;
  detail::for_row_blocks<kMicroRows<NV>>(rows, [&]<int R>(Index d) {
    next.fetch_share(d, R, rows);
    beside.fetch_share(d, R, rows);
    Batch<T> acc[R][NV];
    T* block = c + d * kPanelWidth<T>;
    if (scale) {
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v)
          acc[r][v] = simd::load_aligned(block + r * kPanelWidth<T> + v * simd::kLanes<T>) * scale[v];
    } else {
      detail::clear<T>(acc);
    }
    detail::multiply<T>(a + d, 1, a_stride, b, depth, acc);
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v].store_aligned(block + r * kPanelWidth<T> + v * simd::kLanes<T>);
  });
}

/// Calls f.operator()<NV>() for a number of batches known at run time.
template <class F>
HEED_INLINE void with_batches(int batches, F&& f) {
  if constexpr (kPanelBatches == 4) {
    if (batches == 4) return f.template operator()<4>();
    if (batches == 3) return f.template operator()<3>();
  }
  if (batches == 2) return f.template operator()<2>();
  f.template operator()<1>();
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
