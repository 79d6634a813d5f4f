// SPDX-License-Identifier: Apache-2.0
// The exponentials of a streaming softmax, on the rows of a panel and on rows of their own.
#pragma once

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/math.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// log2 e, which makes a natural score a binary one: exponentials are powers of two.
template <Real T>
inline constexpr T kLog2E = T(1.442695040888963407359924681L);
/// ln 2.
template <Real T>
inline constexpr T kLn2 = T(0.693147180559945309417232121L);

/// panel[j][i] = 2^(panel[j][i] - shift[i]) for `rows` rows and NV batches of columns; sum[v] grows by the column sums.
/// `shift` is finite and no smaller than any entry of its column.
template <int NV, Real T>
HEED_NOINLINE void panel_exponentials(T* panel, Index rows, const simd::Batch<T>* shift, simd::Batch<T>* sum) {
  using simd::Batch;
  Batch<T> shifts[NV], total[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    shifts[v] = shift[v];
    total[v] = sum[v];
  }
  for (Index j = 0; j < rows; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      T* address = panel + j * kPanelWidth<T> + v * simd::kLanes<T>;
      const Batch<T> p = simd::exp2_nonpositive(simd::load_aligned(address) - shifts[v]);
      total[v] = total[v] + p;
      p.store_aligned(address);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) sum[v] = total[v];
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
