// SPDX-License-Identifier: Apache-2.0
// learnable_branch_fusion: two branches, each times a learned weight.
#pragma once

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// a * u + b * v
struct WeightedSum {
  static constexpr std::string_view kName = "learnable_branch_fusion";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> u, simd::Batch<T> v, simd::Batch<T> a, simd::Batch<T> b) const {
    return simd::fma(a, u, b * v);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> u, simd::Batch<T> v, simd::Batch<T> a,
                          simd::Batch<T> b) const {
    return d * (Operand == 0 ? a : Operand == 1 ? b : Operand == 2 ? u : v);
  }
};

}  // namespace detail

/// out = a * u + b * v, element by element.
///
/// u and v (B, K), out as they; a and b (K) or (1), free: they need not add up to 1. Throws heed::Error for shapes that
/// do not fit. Time O(B K). The same bits for any number of threads. Source: DFYP 2025, its learnable fusion of two
/// branches.
template <Real T>
struct LearnableBranchFusion {
  Tensor<T, 1> a = {};
  Tensor<T, 1> b = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("a", a);
    f("b", b);
  }

  template <Operand U, Operand V>
  auto operator()(const U& u, const V& v) const {
    return (*this)(DeviceRef(), u, v);
  }
  template <Device D, Operand U, Operand V>
  auto operator()(const D& device, const U& u, const V& v) const {
    constexpr std::string_view name = "learnable_branch_fusion";
    static_assert(kOperandRank<U> == 2 && kOperandRank<V> == 2, "heed::LearnableBranchFusion: u and v are (B, K)");
    require_shape(name, "v", sizes_of(v), sizes_of(u));
    const Index width = sizes_of(u)[1];
    require_parameter(name, "a", a, {a.size() == 1 ? 1 : width});
    require_parameter(name, "b", b, {b.size() == 1 ? 1 : width});
    return pointwise(detail::WeightedSum(), device, u, v, a, b);
  }
};

}  // namespace heed::inline HEED_ISA
