// SPDX-License-Identifier: Apache-2.0
// Rows into the columns of a panel and back, widening and scaling on the way.
#pragma once

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

// A square of the panel from `lanes` rows of the source; the last row stands in for those that do not exist. All
// indices of `square` are constants, so that it lives in registers.
template <bool kWhole, Real T, class U>
HEED_INLINE void square_to_panel(const U* rows, Index row_stride, Index lanes, Index width, simd::Batch<T> factor,
                                 T* panel, Index pitch) {
  constexpr int w = simd::kLanes<T>;
  simd::Batch<T> square[w];
#pragma GCC unroll 16
  for (int r = 0; r < w; ++r) {
    const U* address = rows + std::min<Index>(r, lanes - 1) * row_stride;
    square[r] = (kWhole ? simd::load_as<T>(address) : simd::load_partial<T>(address, width)) * factor;
  }
  simd::transpose<T>(square);
#pragma GCC unroll 16
  for (int r = 0; r < w; ++r)
    if (kWhole || r < width) square[r].store_aligned(panel + r * pitch);
}

template <bool kWhole, Real T, class U>
HEED_INLINE void panel_to_square(const T* panel, simd::Batch<T> factor, Index lanes, Index width, U* rows,
                                 Index row_stride, Index inner_stride) {
  constexpr int w = simd::kLanes<T>;
  simd::Batch<T> square[w];
#pragma GCC unroll 16
  for (int r = 0; r < w; ++r)
    square[r] = kWhole || r < width ? simd::load_aligned(panel + r * kPanelWidth<T>) * factor : simd::Batch<T>(T(0));
  simd::transpose<T>(square);
#pragma GCC unroll 16
  for (int r = 0; r < w; ++r) {
    if (r >= lanes) break;
    U* address = rows + r * row_stride;
    if constexpr (kWhole && std::same_as<T, U>) {
      square[r].store_unaligned(address);
    } else if (inner_stride == 1) {
      simd::store_partial<T>(square[r], address, width);
    } else {
      alignas(64) T elements[w];
      square[r].store_aligned(elements);
      for (Index e = 0; e < width; ++e) address[e * inner_stride] = static_cast<U>(elements[e]);
    }
  }
}

}  // namespace detail

/// lines[d * pitch + i] = source[i * row_stride + d * inner_stride] * scale for `count` rows i and `depth` elements d.
/// Columns up to the next multiple of kLanes hold something finite or a row of the source again; pitch is a multiple of
/// kLanes.
template <Real T, class U>
HEED_NOINLINE void rows_to_lines(const U* source, Index row_stride, Index inner_stride, Index count, Index depth,
                                 T scale, T* lines, Index pitch) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> factor(scale);
  for (Index i = 0; i < count; i += w) {
    const Index lanes = std::min(w, count - i);
    const U* rows = source + i * row_stride;
    T* columns = lines + i;
    Index d = 0;
    if (inner_stride == 1) {
      for (; d + w <= depth; d += w)
        detail::square_to_panel<true>(rows + d, row_stride, lanes, w, factor, columns + d * pitch, pitch);
      if (depth - d > w / 4) {
        detail::square_to_panel<false>(rows + d, row_stride, lanes, depth - d, factor, columns + d * pitch, pitch);
        d = depth;
      }
    }
    for (; d < depth; ++d)
      (simd::load_strided<T>(rows + d * inner_stride, row_stride, lanes) * factor).store_aligned(columns + d * pitch);
  }
}

/// The same into a panel.
template <Real T, class U>
void rows_to_panel(const U* source, Index row_stride, Index inner_stride, Index count, Index depth, T scale, T* panel) {
  rows_to_lines<T>(source, row_stride, inner_stride, count, depth, scale, panel, kPanelWidth<T>);
}

/// target[i * row_stride + d * inner_stride] = panel[d][i] * scale[i] for `count` columns i and `depth` rows d.
template <Real T, class U>
HEED_NOINLINE void panel_to_rows(const T* panel, const T* scale, Index count, Index depth, U* target, Index row_stride,
                                 Index inner_stride) {
  constexpr Index w = simd::kLanes<T>;
  for (Index i = 0; i < count; i += w) {
    const Index lanes = std::min(w, count - i);
    const simd::Batch<T> factor = simd::load_aligned(scale + i);
    U* rows = target + i * row_stride;
    for (Index d = 0; d < depth; d += w) {
      const Index width = std::min(w, depth - d);
      const T* columns = panel + d * kPanelWidth<T> + i;
      if (width == w && inner_stride == 1) {
        detail::panel_to_square<true>(columns, factor, lanes, w, rows + d, row_stride, 1);
      } else {
        detail::panel_to_square<false>(columns, factor, lanes, width, rows + d * inner_stride, row_stride,
                                       inner_stride);
      }
    }
  }
}

namespace detail {

// Rows that are columns of memory, in squares: element by element it is several times the cost of the loads.
template <Real T, class U>
Index copy_columns(const U* source, Index inner_stride, Index rows, Index width, T* target, Index target_stride) {
  constexpr Index w = simd::kLanes<T>;
  Index j = 0;
  for (; j + w <= rows; j += w) {
    Index d = 0;
    for (; d + w <= width; d += w) {
      simd::Batch<T> square[w];
#pragma GCC unroll 16
      for (int r = 0; r < w; ++r) square[r] = simd::load_as<T>(source + (d + r) * inner_stride + j);
      simd::transpose<T>(square);
#pragma GCC unroll 16
      for (int r = 0; r < w; ++r) square[r].store_unaligned(target + (j + r) * target_stride + d);
    }
    for (; d < width; ++d)
      for (Index r = 0; r < w; ++r)
        target[(j + r) * target_stride + d] = simd::widen<T>(source[d * inner_stride + j + r]);
  }
  return j;
}

}  // namespace detail

/// Rows of any storage and inner stride as contiguous rows of T, `target_stride` apart.
template <Real T, class U>
HEED_NOINLINE void copy_rows(const U* source, Index row_stride, Index inner_stride, Index rows, Index width, T* target,
                             Index target_stride) {
  constexpr Index w = simd::kLanes<T>;
  Index j = 0;
  if (row_stride == 1 && inner_stride != 1)
    j = detail::copy_columns(source, inner_stride, rows, width, target, target_stride);
  for (; j < rows; ++j) {
    const U* from = source + j * row_stride;
    T* to = target + j * target_stride;
    Index d = 0;
    if (inner_stride == 1)
      for (; d + w <= width; d += w) simd::load_as<T>(from + d).store_unaligned(to + d);
    for (; d < width; ++d) to[d] = simd::widen<T>(from[d * inner_stride]);
  }
}

/// Adds rows of T times a factor to rows of any storage and inner stride.
template <Real T, class U>
HEED_NOINLINE void add_rows(const T* source, Index source_stride, Index rows, Index width, T factor, U* target,
                            Index row_stride, Index inner_stride) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> factors(factor);
  for (Index j = 0; j < rows; ++j) {
    const T* from = source + j * source_stride;
    U* to = target + j * row_stride;
    Index d = 0;
    if constexpr (std::same_as<T, U>) {
      if (inner_stride == 1)
        for (; d + w <= width; d += w)
          simd::fma(simd::load(from + d), factors, simd::load(to + d)).store_unaligned(to + d);
    }
    for (; d < width; ++d)
      to[d * inner_stride] = static_cast<U>(simd::widen<T>(to[d * inner_stride]) + from[d] * factor);
  }
}

/// Whether every element is finite: x * 0 is 0 for a number and NaN for anything else.
template <Real T, class U>
HEED_NOINLINE bool all_finite(const U* data, Index row_stride, Index rows, Index width) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> zero(T(0));
  simd::Batch<T> trace(T(0));
  T tail = 0;
  for (Index j = 0; j < rows; ++j) {
    const U* row = data + j * row_stride;
    Index d = 0;
    for (; d + w <= width; d += w) trace = simd::fma(simd::load_as<T>(row + d), zero, trace);
    for (; d < width; ++d) tail += simd::widen<T>(row[d]) * T(0);
  }
  const T sum = simd::reduce_add<T>(trace) + tail;
  return sum == T(0);
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
