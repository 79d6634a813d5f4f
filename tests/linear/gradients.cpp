// SPDX-License-Identifier: Apache-2.0
// What the authors' cases leave out: states, masks and phases under a gradient, and tensors beside variables.
#include "heed/autodiff.hpp"
#include "heed/linear/cosformer_attention.hpp"
#include "heed/linear/transnormer_attention.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of linear_attention: states and a mask") {
  auto q = random_tensor<double, 4>({1, 2, 5, 3}, 1), k = random_tensor<double, 4>({1, 2, 5, 3}, 2);
  auto v = random_tensor<double, 4>({1, 2, 5, 2}, 3), state_kv = random_tensor<double, 4>({1, 2, 3, 2}, 4);
  auto state_z = random_tensor<double, 3>({1, 2, 3}, 5);
  for (Index i = 0; i < state_z.size(); ++i) state_z.data()[i] = std::abs(state_z.data()[i]);
  heed::Tensor<std::uint8_t, 2> mask(1, 5);
  mask.setConstant(1);
  mask(0, 2) = 0;
  const heed::LinearAttention attend{{.causal = true, .eps = 0.1}};
  check_gradients(
      [&](auto&, const auto& a, const auto& b, const auto& c, const auto& s, const auto& z) {
        const auto result = attend(a, b, c, {.key_mask = heed::const_view(mask)}, s, z);
        return std::make_tuple(result.out, result.state_kv, result.state_z);
      },
      q, k, v, state_kv, state_z);
}

TEST_CASE("Gradients of linear and cosformer attention for one operand beside tensors") {
  auto q = random_tensor<double, 4>({1, 2, 9, 3}, 1), k = random_tensor<double, 4>({1, 2, 9, 3}, 2);
  auto v = random_tensor<double, 4>({1, 2, 9, 2}, 3);
  check_gradients([&](auto&, const auto& x) { return heed::LinearAttention{{.causal = true}}(q, x, v).out; }, k);
  check_gradients([&](auto&, const auto& x) { return heed::LinearAttention()(x, k, v).out; }, q);
  check_gradients([&](auto&, const auto& x) { return heed::CosformerAttention{{.causal = true}}(q, k, x); }, v);
}

TEST_CASE("Gradients of transnormer_attention with phases, a mask and a state") {
  heed::TransnormerAttention<double> mix{{.num_heads = 2}};
  mix.qkvu.weight = random_tensor<double, 2>({4 * 4, 3}, 1);
  mix.qkvu.bias = random_tensor<double, 1>({4 * 4}, 2);
  mix.out.weight = random_tensor<double, 2>({3, 4}, 3);
  mix.slope = heed::lightning_slopes<double>(2, 0, 4);
  mix.theta = random_tensor<double, 2>({2, 2}, 4);
  auto x = random_tensor<double, 3>({2, 4, 3}, 5);
  auto state = random_tensor<double, 4>({2, 2, 4, 2}, 6);
  heed::Tensor<std::uint8_t, 2> mask(2, 4);
  mask.setConstant(1);
  mask(1, 2) = 0;
  check_gradients(
      [&](auto&, const auto& a, const auto& s, const auto&) {
        const auto result = mix(a, {.key_mask = heed::const_view(mask), .position = 3}, s);
        return std::make_tuple(result.out, result.state);
      },
      x, state, mix.qkvu, mix.out, mix.theta);
}
