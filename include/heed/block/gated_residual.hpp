// SPDX-License-Identifier: Apache-2.0
// gated_residual: a residual sum whose second term is weighed.
#pragma once

#include "heed/block/pointwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x + gate y.
struct GatedSum {
  static constexpr std::string_view kName = "gated_residual";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> gate, simd::Batch<T> y) const {
    return simd::fma(gate, y, x);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T>, simd::Batch<T> gate, simd::Batch<T> y) const {
    if constexpr (Operand == 0) {
      return d;
    } else if constexpr (Operand == 1) {
      return d * y;
    } else {
      return d * gate;
    }
  }
};

}  // namespace detail

/// x + gate y, element by element, in one pass: what a gated residual adds. gate broadcasts: (1), (B, 1, C), ..
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X, Operand G, Operand Y>
auto gated_residual(const D& device, const X& x, const G& gate, const Y& y) {
  return pointwise(detail::GatedSum(), device, x, gate, y);
}

}  // namespace heed::inline HEED_ISA
