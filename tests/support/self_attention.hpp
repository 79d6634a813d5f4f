// SPDX-License-Identifier: Apache-2.0
// Layers and heads in double, one number at a time: what tests of self-attention operators share.
#pragma once

#include "heed/block/linear.hpp"
#include "support/reference.hpp"

namespace heed::test {

template <class T>
Linear<T> random_linear(Index out, Index in, bool bias, unsigned seed) {
  Linear<T> layer{random_tensor<T, 2>({out, in}, seed, 1 / std::sqrt(double(in))), {}};
  if (bias) layer.bias = random_tensor<T, 1>({out}, seed + 1000);
  return layer;
}

/// x weight^T + bias.
template <class T, class U>
Tensor<double, 3> apply(const Linear<T>& layer, const Tensor<U, 3>& x) {
  const Index out = layer.weight.dimension(0);
  Tensor<double, 3> y(x.dimension(0), x.dimension(1), out);
  for (Index b = 0; b < y.dimension(0); ++b)
    for (Index n = 0; n < y.dimension(1); ++n)
      for (Index o = 0; o < out; ++o) {
        y(b, n, o) = layer.bias.size() > 0 ? double(layer.bias(o)) : 0;
        for (Index d = 0; d < x.dimension(2); ++d) y(b, n, o) += double(layer.weight(o, d)) * double(x(b, n, d));
      }
  return y;
}

/// (B, N, H D) as (B, H, N, D).
template <class T>
Tensor<T, 4> heads_of(const Tensor<T, 3>& x, Index heads) {
  const Index width = x.dimension(2) / heads;
  Tensor<T, 4> y(x.dimension(0), heads, x.dimension(1), width);
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index n = 0; n < x.dimension(1); ++n)
      for (Index c = 0; c < x.dimension(2); ++c) y(b, c / width, n, c % width) = x(b, n, c);
  return y;
}
/// And back.
template <class T>
Tensor<T, 3> merged(const Tensor<T, 4>& x) {
  const Index width = x.dimension(3);
  Tensor<T, 3> y(x.dimension(0), x.dimension(2), x.dimension(1) * width);
  for (Index b = 0; b < y.dimension(0); ++b)
    for (Index n = 0; n < y.dimension(1); ++n)
      for (Index c = 0; c < y.dimension(2); ++c) y(b, n, c) = x(b, c / width, n, c % width);
  return y;
}

/// Attention head by head of (B, N, H D) tensors.
inline Tensor<double, 3> naive_heads(const NaiveAttention& naive, const Tensor<double, 3>& q,
                                     const Tensor<double, 3>& k, const Tensor<double, 3>& v, Index heads) {
  return merged(naive(heads_of(q, heads), heads_of(k, heads), heads_of(v, heads)).out);
}

}  // namespace heed::test
