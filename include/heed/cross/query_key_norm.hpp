// SPDX-License-Identifier: Apache-2.0
// How queries and keys are normalised, head by head, before they meet.
#pragma once

#include "heed/block/heads.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// Over the channels of a head.
enum class QueryKeyNorm {
  kNone,
  kRms,    ///< root mean square, with a weight
  kLayer,  ///< mean and variance, with weight and bias
  kL2,     ///< length 1, without parameters: scores are cosines
};

namespace detail {

/// The tokens `x` (B, N, H D) normalised by head into `out` (B, N, H D), a tensor, view or variable of that shape.
template <Device D, Operand X, Storage T, Operand O>
void normalize_heads(const D& device, QueryKeyNorm kind, const X& x, Index heads, const LayerNorm<T>& norm, double eps,
                     const O& out) {
  const Index width = sizes_of(x)[2] / heads;
  if (kind == QueryKeyNorm::kRms) {
    rms_norm(device, view(x).split(2, width), norm.weight, eps, view(out).split(2, width));
  } else {
    layer_norm(device, view(x).split(2, width), norm.weight, norm.bias, eps, view(out).split(2, width));
  }
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
