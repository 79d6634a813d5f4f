// SPDX-License-Identifier: Apache-2.0
// One query against rows that lie anywhere in a table.
#pragma once

#include <cstdint>

#include "heed/kernel/row_access.hpp"
#include "heed/simd/math.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Rows of a table, `stride` apart, of `width` contiguous or strided elements.
template <Real T>
struct TableRows {
  const T* data = nullptr;
  Index stride = 0, inner = 1, width = 0;

  const T* row(Index i) const { return data + i * stride; }
};

/// products[s] = <x, row which[s]> for s < count, x contiguous. As many rows as there are lanes are summed together, so
/// that their lanes are added by one tree.
template <Real T>
void gathered_dots(const T* x, const TableRows<T>& table, const std::int32_t* which, Index count, T* products) {
  constexpr Index w = simd::kLanes<T>;
  const Index whole = table.inner == 1 ? table.width / w * w : 0;
  for (Index s = 0; s < count; s += w) {
    const Index rows = std::min(w, count - s);
    simd::Batch<T> sums[std::size_t(w)];
    for (Index r = 0; r < w; ++r) {
      simd::Batch<T> sum(T(0));
      if (r < rows) {
        const T* const row = table.row(which[s + r]);
        Index d = 0;
        for (; d < whole; d += w) sum = simd::fma(simd::load(x + d), simd::load(row + d), sum);
        for (; d < table.width; d += w)
          sum = simd::fma(simd::load_strided<T>(x + d, 1, table.width - d),
                          simd::load_strided<T>(row + d * table.inner, table.inner, table.width - d), sum);
      }
      sums[r] = sum;
    }
    simd::store_partial<T>(simd::reduce_add_rows<T>(sums), products + s, rows);
  }
}

/// out = the sum over s of weights[s] times row which[s], out contiguous.
template <Real T>
void gathered_mix(const T* weights, const TableRows<T>& table, const std::int32_t* which, Index count, T* out) {
  constexpr Index w = simd::kLanes<T>, kBatches = 4;
  const Index whole = table.inner == 1 ? table.width / (kBatches * w) * kBatches * w : 0;
  Index d = 0;
  for (; d < whole; d += kBatches * w) {
    simd::Batch<T> sum[kBatches];
    for (auto& x : sum) x = simd::Batch<T>(T(0));
    for (Index s = 0; s < count; ++s) {
      const T* const row = table.row(which[s]) + d;
      const simd::Batch<T> by(weights[s]);
      for (Index x = 0; x < kBatches; ++x) sum[x] = simd::fma(by, simd::load(row + x * w), sum[x]);
    }
    for (Index x = 0; x < kBatches; ++x) simd::store_partial<T>(sum[x], out + d + x * w, w);
  }
  for (; d < table.width; d += w) {
    simd::Batch<T> sum(T(0));
    for (Index s = 0; s < count; ++s)
      sum = simd::fma(simd::Batch<T>(weights[s]),
                      simd::load_strided<T>(table.row(which[s]) + d * table.inner, table.inner, table.width - d), sum);
    simd::store_partial<T>(sum, out + d, std::min(w, table.width - d));
  }
}

/// x = softmax(x) of `count` numbers, 0 for -infinity alone.
template <Real T>
void softmax_in_place(T* x, Index count) {
  constexpr Index w = simd::kLanes<T>;
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  T top = kNone;
  for (Index s = 0; s < count; ++s) top = std::max(top, x[s]);
  if (top == kNone) {
    std::fill_n(x, count, T(0));
    return;
  }
  simd::Batch<T> sum(T(0));
  for (Index s = 0; s < count; s += w) {
    const Index lanes = std::min(w, count - s);
    auto e = simd::exp<T>(simd::load_partial<T>(x + s, lanes) - simd::Batch<T>(top));
    simd::store_partial<T>(e, x + s, lanes);
    e = simd::load_partial<T>(x + s, lanes);  // 0 behind the last
    sum = sum + e;
  }
  const T total = simd::reduce_add<T>(sum);
  for (Index s = 0; s < count; ++s) x[s] /= total;
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
