// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/differential_attention.hpp"

#include "heed/self/rotary_position_embedding.hpp"
#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

using Attention = heed::DifferentialAttention<double>;

Attention attention(Index heads, Index groups, Index width, bool causal) {
  Attention attend{{.num_heads = heads, .num_kv_heads = groups, .depth = 2, .causal = causal}};
  const Index c = 2 * heads * width;
  attend.q = fresh_linear(c, c, false);
  attend.k = fresh_linear(2 * groups * width, c, false);
  attend.v = fresh_linear(2 * groups * width, c, false);
  attend.out = fresh_linear(c, c, false);
  for (auto* x : {&attend.lambda_q1, &attend.lambda_k1, &attend.lambda_q2, &attend.lambda_k2}) *x = fresh<1>({width});
  attend.sub_norm.weight = fresh<1>({2 * width});
  return attend;
}

// Heads 2h + map of (B, 2H, N, D).
Tensor<double, 4> every_other(const Tensor<double, 4>& x, Index map) {
  return heed::contiguous(heed::view(x).split(1, 2).select(2, map));
}

Tensor<double, 3> naive(const Attention& attend, const Tensor<double, 3>& x) {
  const Index heads = attend.options.num_heads, groups = attend.options.num_kv_heads,
              width = x.dimension(2) / heads / 2;
  auto q = heads_of(apply(attend.q, x), 2 * heads), k = heads_of(apply(attend.k, x), 2 * groups);
  if (attend.options.rope_base > 0) {
    const heed::RotaryPositionEmbedding rope{{.base = attend.options.rope_base, .interleaved = true}};
    Tensor<std::int32_t, 2> at(1, x.dimension(1));
    for (Index i = 0; i < x.dimension(1); ++i) at(0, i) = std::int32_t(i);
    q = rope(q, at);
    k = rope(k, at);
  }
  const auto v = heads_of(apply(attend.v, x), groups);
  NaiveAttention dense;
  if (attend.options.causal) dense.visible = [](Index, Index, Index i, Index j) { return j <= i; };
  auto o = dense(every_other(q, 0), every_other(k, 0), v).out;
  const auto second = dense(every_other(q, 1), every_other(k, 1), v).out;
  const auto power = [](const auto& a, const auto& b) {
    double sum = 0;
    for (Index d = 0; d < a.size(); ++d) sum += a(d) * b(d);
    return std::exp(sum);
  };
  const double initial = 0.8 - 0.6 * std::exp(-0.6);
  const double lambda = power(attend.lambda_q1, attend.lambda_k1) - power(attend.lambda_q2, attend.lambda_k2) + initial;
  for (Index i = 0; i < o.size(); ++i) o.data()[i] -= lambda * second.data()[i];
  for (Index row = 0; row < o.size(); row += 2 * width) {
    double squares = 0;
    for (Index d = 0; d < 2 * width; ++d) squares += o.data()[row + d] * o.data()[row + d] / double(2 * width);
    for (Index d = 0; d < 2 * width; ++d)
      o.data()[row + d] *= (1 - initial) * attend.sub_norm.weight(d) / std::sqrt(squares + 1e-5);
  }
  return apply(attend.out, merged(o));
}

}  // namespace

TEST_CASE("differential_attention is its definition") {
  for (const auto& [heads, groups] : {std::pair<Index, Index>{2, 2}, {4, 2}, {3, 1}})
    for (const Index n : {1, 3, 17})
      for (const bool causal : {false, true}) {
        CAPTURE(heads, groups, n, causal);
        auto attend = attention(heads, groups, 4, causal);
        if (n == 3) attend.options.rope_base = 0;
        const auto x = fresh<3>({2, n, heads * 8});
        CHECK(error_of(attend(x), naive(attend, x)) < 1e-11);
      }
}

TEST_CASE("differential_attention: what does not fit") {
  auto attend = attention(2, 2, 3, true);
  CHECK_THROWS_AS(attend(fresh<3>({1, 2, 10})), heed::Error);
  attend.options.num_kv_heads = 3;
  CHECK_THROWS_WITH(attend(fresh<3>({1, 2, 12})),
                    "differential_attention: num_heads = 2 must be a multiple of num_kv_heads = 3");
}
