// SPDX-License-Identifier: Apache-2.0
// Pairs in neighbouring lanes: the inverse of simd::zip.
#pragma once

#include "heed/simd/batch.hpp"

namespace heed::inline HEED_ISA {

namespace simd {

namespace detail {
template <class Register, std::size_t... I>
HEED_INLINE Register unzip_even(Register a, Register b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, (2 * int(I))...);
}
template <class Register, std::size_t... I>
HEED_INLINE Register unzip_odd(Register a, Register b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, (2 * int(I) + 1)...);
}
}  // namespace detail

/// (a0, a2, ..., b0, b2, ...) and (a1, a3, ..., b1, b3, ...): of 2 * kLanes neighbouring elements the even, then the
/// odd ones.
template <Real T>
HEED_INLINE std::pair<Batch<T>, Batch<T>> unzip(Batch<T> a, Batch<T> b) {
  using Register = typename Batch<T>::register_type;
  constexpr auto lanes = std::make_index_sequence<std::size_t(kLanes<T>)>();
  return {Batch<T>(detail::unzip_even(Register(a), Register(b), lanes)),
          Batch<T>(detail::unzip_odd(Register(a), Register(b), lanes))};
}

}  // namespace simd

}  // namespace heed::inline HEED_ISA
