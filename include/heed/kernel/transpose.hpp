// SPDX-License-Identifier: Apache-2.0
// Rows into the columns of a panel and back, widening and scaling on the way.
#pragma once

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// panel[d][i] = source[i * row_stride + d * inner_stride] * scale for `count` rows i and `depth` elements d. Columns
/// up to the next multiple of kLanes are filled with 0.
template <Real T, class U>
HEED_NOINLINE void rows_to_panel(const U* source, Index row_stride, Index inner_stride, Index count, Index depth,
                                 T scale, T* panel) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> factor(scale);
  for (Index i = 0; i < count; i += w) {
    const Index lanes = std::min(w, count - i);
    const U* rows = source + i * row_stride;
    Index d = 0;
    if (inner_stride == 1) {
      for (; d < depth; d += w) {
        const Index width = std::min(w, depth - d);
        simd::Batch<T> square[w];
        for (Index r = 0; r < w; ++r) {
          const U* address = rows + r * row_stride + d;
          square[r] = r >= lanes   ? simd::Batch<T>(T(0))
                      : width == w ? simd::load_as<T>(address) * factor
                                   : simd::load_partial<T>(address, width) * factor;
        }
        simd::transpose<T>(square);
        for (Index r = 0; r < width; ++r) square[r].store_aligned(panel + (d + r) * kPanelWidth<T> + i);
      }
    } else {
      for (; d < depth; ++d)
        (simd::load_strided<T>(rows + d * inner_stride, row_stride, lanes) * factor)
            .store_aligned(panel + d * kPanelWidth<T> + i);
    }
  }
}

/// target[i * row_stride + d * inner_stride] = panel[d][i] * scale[i] for `count` columns i and `depth` rows d.
template <Real T, class U>
HEED_NOINLINE void panel_to_rows(const T* panel, const T* scale, Index count, Index depth, U* target, Index row_stride,
                                 Index inner_stride) {
  constexpr Index w = simd::kLanes<T>;
  for (Index i = 0; i < count; i += w) {
    const Index lanes = std::min(w, count - i);
    const simd::Batch<T> factor = simd::load_aligned(scale + i);
    for (Index d = 0; d < depth; d += w) {
      const Index width = std::min(w, depth - d);
      simd::Batch<T> square[w];
      for (Index r = 0; r < w; ++r)
        square[r] =
            r < width ? simd::load_aligned(panel + (d + r) * kPanelWidth<T> + i) * factor : simd::Batch<T>(T(0));
      simd::transpose<T>(square);
      for (Index r = 0; r < lanes; ++r) {
        U* address = target + (i + r) * row_stride + d * inner_stride;
        if (inner_stride == 1) {
          simd::store_partial<T>(square[r], address, width);
        } else {
          alignas(64) T elements[w];
          square[r].store_aligned(elements);
          for (Index e = 0; e < width; ++e) address[e * inner_stride] = static_cast<U>(elements[e]);
        }
      }
    }
  }
}

/// Rows of any storage and inner stride as contiguous rows of T, `target_stride` apart.
template <Real T, class U>
HEED_NOINLINE void copy_rows(const U* source, Index row_stride, Index inner_stride, Index rows, Index width, T* target,
                             Index target_stride) {
  constexpr Index w = simd::kLanes<T>;
  for (Index j = 0; j < rows; ++j) {
    const U* from = source + j * row_stride;
    T* to = target + j * target_stride;
    Index d = 0;
    if (inner_stride == 1)
      for (; d + w <= width; d += w) simd::load_as<T>(from + d).store_unaligned(to + d);
    for (; d < width; ++d) to[d] = simd::widen<T>(from[d * inner_stride]);
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
