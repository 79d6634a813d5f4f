// SPDX-License-Identifier: Apache-2.0
// add_product: what stays, and beside it what is scaled: weighted sums and layer scales.
#pragma once

#include "heed/block/pointwise.hpp"

namespace heed::inline HEED_ISA {

/// x + a * b.
struct PlusProduct {
  static constexpr std::string_view kName = "add_product";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> a, simd::Batch<T> b) const {
    return simd::fma(a, b, x);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T>, simd::Batch<T> a, simd::Batch<T> b) const {
    if constexpr (Operand == 0) {
      return d;
    } else {
      return d * (Operand == 1 ? b : a);
    }
  }
};

/// x + a * b in one pass, with broadcasting: a layer scale b (C, 1, 1) of a (B, C, h, w), a weight b (1) of a whole
/// tensor. All else as pointwise.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X, Operand A, Operand B>
auto add_product(const D& device, const X& x, const A& a, const B& b) {
  return pointwise(PlusProduct(), device, x, a, b);
}

}  // namespace heed::inline HEED_ISA
