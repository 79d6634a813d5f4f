// SPDX-License-Identifier: Apache-2.0
// Operators on variables: the same lines as on tensors.
#include "heed/autodiff.hpp"
#include "heed/self/multi_head_attention.hpp"
#include "heed/self/varlen_attention.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Linear;
using heed::MultiHeadAttention;
using heed::Tape;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("Gradients of multi-head attention") {
  MultiHeadAttention<double> attend{{.num_heads = 4, .num_kv_heads = 2}};
  const auto layer = [](Index out, Index in, unsigned seed) {
    return Linear<double>{random_tensor<double, 2>({out, in}, seed, 0.5), random_tensor<double, 1>({out}, seed + 1)};
  };
  attend.q = layer(12, 7, 1);
  attend.k = layer(6, 5, 3);
  attend.v = layer(10, 3, 5);
  attend.out = layer(7, 20, 7);
  auto query = random_tensor<double, 3>({2, 3, 7}, 11), key = random_tensor<double, 3>({2, 5, 5}, 12);
  auto value = random_tensor<double, 3>({2, 5, 3}, 13);
  Tensor<std::uint8_t, 2> mask(2, 5);
  mask.setConstant(1);
  mask(0, 1) = mask(1, 4) = 0;
  MultiHeadAttention<double>::Inputs inputs;
  SECTION("causal") { attend.options.causal = true; }
  SECTION("masked, with extra keys") {
    inputs.key_mask = mask;
    attend.bias_k = random_tensor<double, 1>({6}, 21);
    attend.bias_v = random_tensor<double, 1>({10}, 22);
    attend.options.add_zero_attn = true;
  }
  SECTION("with its weights") { attend.options.return_weights = true; }
  check_gradients(
      [&](auto&, const auto& q, const auto& k, const auto& v) {
        const auto result = attend(q, k, v, inputs);
        return std::make_tuple(result.out, result.weights);
      },
      query, key, value, attend);
  Tape<double> tape;
  const auto recorded = attend(tape.input(query), key, tape.constant(value), inputs);
  const auto plain = attend(query, key, value, inputs);
  CHECK(error_of(recorded.out.value(), plain.out) == 0);
  if (attend.options.return_weights) CHECK(error_of(recorded.weights.value(), plain.weights) == 0);
}

TEST_CASE("Gradients of scaled dot-product attention with its options") {
  using Attention = heed::ScaledDotProductAttention<double>;
  auto q = random_tensor<double, 4>({2, 4, 3, 5}, 1), k = random_tensor<double, 4>({2, 2, 6, 5}, 2);
  auto v = random_tensor<double, 4>({2, 2, 6, 3}, 3), bias = random_tensor<double, 4>({1, 4, 3, 6}, 4);
  Attention attend{{.softcap = 2, .causal = true, .window_left = 3, .return_lse = true},
                   random_tensor<double, 1>({4}, 5),
                   random_tensor<double, 1>({4}, 6)};
  check_gradients(
      [&](auto&, const auto& query, const auto& key, const auto& value, const auto& added) {
        const auto result = attend(query, key, value, Attention::Inputs{.attn_bias = added.value()});
        return std::make_tuple(result.out, result.lse);
      },
      q, k, v, bias, attend);
  Tape<double> tape;
  const auto recorded = attend(tape.input(q), k, v, {.attn_bias = bias});
  const auto plain = attend(q, k, v, {.attn_bias = bias});
  CHECK(error_of(recorded.out.value(), plain.out) == 0);
  CHECK(error_of(recorded.lse.value(), plain.lse) == 0);
}

TEST_CASE("Gradients of packed sequences") {
  auto q = random_tensor<double, 3>({9, 4, 5}, 1), k = random_tensor<double, 3>({11, 2, 5}, 2);
  auto v = random_tensor<double, 3>({11, 2, 3}, 3);
  Tensor<std::int32_t, 1> cu_q(5), cu_k(5);
  cu_q.setValues({0, 4, 4, 7, 9});
  cu_k.setValues({0, 4, 6, 11, 11});  // an empty sequence, one without queries, one without keys
  const heed::VarlenAttention attend{{.causal = true}};
  check_gradients([&](auto&, const auto& query, const auto& key,
                      const auto& value) { return attend(query, key, value, cu_q, cu_k); },
                  q, k, v);
  Tape<double> tape;
  CHECK(error_of(attend(tape.input(q), k, v, cu_q, cu_k).value(), attend(q, k, v, cu_q, cu_k)) == 0);
}
