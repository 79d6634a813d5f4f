// SPDX-License-Identifier: Apache-2.0
// The exponentials of a streaming softmax, on the rows of a panel and on rows of their own.
#pragma once

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/math.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// log2 e: scores are natural logarithms, exponentials are powers of two.
template <Real T>
inline constexpr T kLog2E = T(1.442695040888963407359924681L);
/// ln 2.
template <Real T>
inline constexpr T kLn2 = T(0.693147180559945309417232121L);

/// panel[j][i] = 2^(panel[j][i] * log2 e - shift[i]) for `rows` rows and NV batches of columns; sum[v] grows by the
/// column sums. `shift` is finite.
template <int NV, Real T>
HEED_NOINLINE void panel_exponentials(T* panel, Index rows, const simd::Batch<T>* shift, simd::Batch<T>* sum) {
  using simd::Batch;
  const Batch<T> factor(kLog2E<T>);
  Batch<T> minus[NV], total[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    minus[v] = -shift[v];
    total[v] = sum[v];
  }
  for (Index j = 0; j < rows; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      T* address = panel + j * kPanelWidth<T> + v * simd::kLanes<T>;
      const Batch<T> p = simd::exp2_nonpositive(simd::fma(simd::load_aligned(address), factor, minus[v]));
      total[v] = total[v] + p;
      p.store_aligned(address);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) sum[v] = total[v];
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
