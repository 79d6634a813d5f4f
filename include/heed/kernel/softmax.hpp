// SPDX-License-Identifier: Apache-2.0
// The exponentials of a streaming softmax, on the rows of a panel and on rows of their own.
#pragma once

#include <cmath>

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/math.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// log2 e.
template <Real T>
inline constexpr T kLog2E = T(1.442695040888963407359924681L);
/// ln 2.
template <Real T>
inline constexpr T kLn2 = T(0.693147180559945309417232121L);

/// What a score is the exponent of. Scores to the base 2, s log2 e, cost one multiplication less; where log2 e can be
/// put into the queries beforehand they are taken, natural ones otherwise: multiplied after it is formed, a score of
/// 1e5 would lose a hundredth in the rounding, while the difference of two natural scores is exact where it matters.
enum class Base { kTwo, kE };

/// base^x for x <= 0.
template <Base B, Real T>
HEED_INLINE simd::Batch<T> power(simd::Batch<T> x) {
  return simd::exp2_nonpositive(B == Base::kTwo ? x : x * simd::Batch<T>(kLog2E<T>));
}
template <Base B, Real T>
T power(T x) {
  return B == Base::kTwo ? std::exp2(x) : std::exp(x);
}
/// The score of base B of a natural one, and back.
template <Base B, Real T>
T from_natural(T score) {
  return B == Base::kTwo ? score * kLog2E<T> : score;
}
template <Base B, Real T>
T to_natural(T score) {
  return B == Base::kTwo ? score * kLn2<T> : score;
}

/// panel[j][i] = base^(panel[j][i] - shift[i]) for `rows` rows and NV batches of columns; sum[v] grows by the column
/// sums. `shift` is finite and no smaller than any entry of its column.
template <Base B, int NV, Real T>
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
      const Batch<T> p = power<B, T>(simd::load_aligned(address) - shifts[v]);
      total[v] = total[v] + p;
      p.store_aligned(address);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) sum[v] = total[v];
}

/// The way back of a softmax whose log-sum-exp is known: panel[j][i] = p = base^(panel[j][i] - shift[i]) and
/// gradient[j][i] = p (gradient[j][i] - delta[i]). A shift of +infinity gives 0 for both.
template <Base B, int NV, Real T>
HEED_NOINLINE void panel_softmax_backward(T* panel, T* gradient, Index rows, const simd::Batch<T>* shift,
                                          const simd::Batch<T>* delta) {
  using simd::Batch;
  Batch<T> shifts[NV], deltas[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    shifts[v] = shift[v];
    deltas[v] = delta[v];
  }
  for (Index j = 0; j < rows; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const Index place = j * kPanelWidth<T> + v * simd::kLanes<T>;
      const Batch<T> p = power<B, T>(simd::load_aligned(panel + place) - shifts[v]);
      p.store_aligned(panel + place);
      (p * (simd::load_aligned(gradient + place) - deltas[v])).store_aligned(gradient + place);
    }
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
