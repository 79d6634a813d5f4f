// SPDX-License-Identifier: Apache-2.0
// x log x, of which entropies and divergences are made.
#pragma once

#include "heed/block/activation.hpp"

namespace heed::inline HEED_ISA {

/// x log(x + eps), and 0 with the derivative 0 where x + eps is 0: for activate.
///
/// Gradient: to x, by activate_backward.
struct XLogX {
  double eps = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    const simd::Batch<T> zero(T(0)), shifted = x + simd::Batch<T>(T(eps));
    return simd::select(shifted == zero, zero, x * simd::log<T>(shifted));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> zero(T(0)), shifted = x + simd::Batch<T>(T(eps));
    return simd::select(shifted == zero, zero, simd::log<T>(shifted) + x / shifted);
  }
};

}  // namespace heed::inline HEED_ISA
