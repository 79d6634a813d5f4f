// SPDX-License-Identifier: Apache-2.0
// nearest_code: which entry of a codebook is nearest to each vector.
#pragma once

#include "heed/block/linear.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// argmin_j |x - c_j|^2 over the rows of a codebook, the lowest index on a tie: x (B, N, C), codebook (K, C), the
/// result (B, N) int32. Found as the largest of x . c_j - |c_j|^2 / 2: one product, and the same order. A vector
/// without a finite distance to any code gets -1. Throws heed::Error for shapes that do not fit. Time O(B N K C).
///
/// No gradient: the choice has none.
template <Device D, Operand X, TensorLike C>
Tensor<std::int32_t, 2> nearest_code(const D& device, const X& x, const C& codebook) {
  static_assert(kOperandRank<X> == 3 && kRankOf<C> == 2, "heed::nearest_code: x is (B, N, C) and the codebook (K, C)");
  using T = Compute<OperandScalar<X>>;
  const auto codes = const_view(codebook);
  require(codes.size(0) > 0, "nearest_code", "the codebook is empty");
  Tensor<T, 1> shift(codes.size(0));
  for (Index j = 0; j < codes.size(0); ++j) {
    double square = 0;
    for (Index c = 0; c < codes.size(1); ++c) square += double(codes(j, c)) * double(codes(j, c));
    shift(j) = T(-square / 2);
  }
  const auto scores = linear(device, values_of(x), codebook, shift);
  const auto best = top_k(device, scores, 1).indices;
  Tensor<std::int32_t, 2> result(best.dimension(0), best.dimension(1));
  std::copy_n(best.data(), best.size(), result.data());
  return result;
}

}  // namespace heed::inline HEED_ISA
