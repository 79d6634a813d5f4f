// SPDX-License-Identifier: Apache-2.0
// Products that are added to, also of triangles: the weights of causal pairs times their values.
#pragma once

#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/gemm.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// sum += a x for a (n, m), x (m, c), sum (n, c).
template <Real T>
void add_product(const DeviceRef& device, const View<const T, 2>& a, const View<const T, 2>& x, const View<T, 2>& sum) {
  if (a.size(1) > 0) gemm<Write::kAdd>(device, a, x.permute({1, 0}), View<const T, 1>(), sum);
}

/// The same for a (n, n) of which only the triangle with column <= row (or, upper, >= row) counts: the rest meets no
/// element of x, so that NaN of a later token stays there. Blocks of 16 rows leave little to single rows.
template <bool kUpper, Real T>
void add_triangle(const DeviceRef& device, const View<const T, 2>& a, const View<const T, 2>& x,
                  const View<T, 2>& sum) {
  constexpr Index block = 16;
  const Index n = a.size(0);
  for (Index first = 0; first < n; first += block) {
    const Index count = std::min(block, n - first), from = kUpper ? first + count : 0;
    const Index others = kUpper ? n - from : first;
    add_product<T>(device, a.slice(0, first, count).slice(1, from, others), x.slice(0, from, others),
                   sum.slice(0, first, count));
    for (Index i = first; i < first + count; ++i)
      for (Index j = kUpper ? i : first; j < (kUpper ? first + count : i + 1); ++j)
        add_multiple(a(i, j), x.at(j), x.stride(1), x.size(1), sum.at(i), sum.stride(1));
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
