// SPDX-License-Identifier: Apache-2.0
// What tests of cross-attention share: filled layers, and multi-head attention from its definition.
#pragma once

#include "catch.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"
#include "heed/core/parameters.hpp"
#include "support/self_attention.hpp"

namespace heed::test {

/// Random numbers, others at each call.
template <int Rank>
Tensor<double, Rank> fresh(const std::array<Index, std::size_t(Rank)>& sizes) {
  static unsigned seed = 500;
  return random_tensor<double, Rank>(sizes, ++seed);
}
inline Linear<double> fresh_linear(Index out, Index in, bool bias = true) {
  static unsigned seed = 5000;
  return random_linear<double>(out, in, bias, ++seed);
}
inline LayerNorm<double> fresh_norm(Index width) { return {fresh<1>({width}), fresh<1>({width})}; }
inline Mlp<double> fresh_mlp(Index out, Index hidden, Index in, bool bias = true) {
  return {fresh_linear(hidden, in, bias), fresh_linear(out, hidden, bias)};
}

/// Layers q, k, v and out of a part, q of `in` channels, k and v of `context` ones.
template <class Part>
void fill_projections(Part& part, Index width, Index in, Index context, bool bias = true) {
  part.q = fresh_linear(width, in, bias);
  part.k = fresh_linear(width, context, bias);
  part.v = fresh_linear(width, context, bias);
  part.out = fresh_linear(in, width, bias);
}

/// join(A(heads of q, heads of k, heads of v)), every key visible unless `naive` says otherwise.
inline Tensor<double, 3> mixed(const Tensor<double, 3>& q, const Tensor<double, 3>& k, const Tensor<double, 3>& v,
                               Index heads, const NaiveAttention& naive = {}) {
  return naive_heads(naive, q, k, v, heads);
}

/// Every element of a parameter, by its name, must have an influence on f(): a layer that is not used is found so.
template <class Op, class F>
void check_all_used(Op& op, const F& f) {
  const Tensor<double, 3> before = f();
  for_each_parameter(op, [&](std::string_view name, auto& tensor) {
    if (tensor.size() == 0) return;
    INFO("parameter " << name);
    auto& element = tensor.data()[tensor.size() - 1];
    const double old = element;
    element += 0.5;
    CHECK(error_of(f(), before) > 0);
    element = old;
  });
}

}  // namespace heed::test
