// SPDX-License-Identifier: Apache-2.0
// Matrices whose elements depend on the difference of their indices alone.
#pragma once

#include <algorithm>

#include "heed/simd/convert.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// out(i, j) = values[j - i + rows - 1]: every row is the one above it, moved by one. `values` has rows + columns - 1
/// elements; rows of out are row_stride apart.
template <class T>
void spread_diagonals(const T* values, Index rows, Index columns, T* out, Index row_stride) {
  for (Index i = 0; i < rows; ++i) std::copy_n(values + (rows - 1 - i), columns, out + i * row_stride);
}

/// sums[j - i + rows - 1] += x(i, j): the sums of the diagonals, in runs of 128 rows from the top.
template <Real T>
void sum_diagonals(const T* x, Index row_stride, Index rows, Index columns, T* run, T* sums) {
  constexpr Index w = simd::kLanes<T>, kRun = 128;
  for (Index first = 0; first < rows; first += kRun) {
    const Index count = std::min(kRun, rows - first), length = columns + count - 1;
    std::fill_n(run, length, T(0));
    for (Index r = 0; r < count; ++r) {
      const T* row = x + (first + r) * row_stride;
      T* to = run + (count - 1 - r);
      Index j = 0;
      for (; j + w <= columns; j += w) (simd::load(to + j) + simd::load(row + j)).store_unaligned(to + j);
      for (; j < columns; ++j) to[j] += row[j];
    }
    T* const total = sums + (rows - first - count);
    for (Index x_at = 0; x_at < length; ++x_at) total[x_at] += run[x_at];
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
