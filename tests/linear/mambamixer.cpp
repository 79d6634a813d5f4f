// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/mambamixer.hpp"

#include "support/mixers.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_layer_norm;
using heed::test::random_tensor;
using heed::test::random_token_mixer;

namespace {

heed::MambaMixer<double> random_mixer(const heed::MambaMixer<double>::Options& options) {
  heed::MambaMixer<double> mix(options);
  Index l = 0;
  for (auto& layer : mix.layer) {
    ++l;
    layer.alpha = fill<1>({l});
    layer.beta = fill<1>({l});
    layer.theta = fill<1>({l + 1});
    layer.phi = fill<1>({l});
    layer.token = random_token_mixer({2, 3, 1, 1, 3}, options.bidirectional);
    layer.channel = {random_token_mixer({3, 2, 1, 1, 3}, true)};
    if (!options.pre_norm) continue;
    layer.token_norm = random_layer_norm(2);
    layer.channel_norm = random_layer_norm(2);
  }
  return mix;
}

}  // namespace

TEST_CASE("Gradients of mambamixer") {
  auto x = random_tensor<double, 3>({1, 3, 2}, 1);
  auto mix = random_mixer({.num_layers = 2, .pre_norm = true});
  check_gradients(
      [&](auto&, const auto& v) {
        const auto result = mix(v);
        return std::make_tuple(result.out, result.token);
      },
      x, mix);
}

TEST_CASE("mambamixer sums what came before with the weights as they are") {
  const auto x = random_tensor<double, 3>({2, 3, 2}, 1);
  const auto mix = random_mixer({.num_layers = 2, .bidirectional = true});
  const auto& first = mix.layer[0];
  const auto& second = mix.layer[1];
  const Tensor<double, 3> a1 = x * (first.alpha(0) + first.beta(0)), t1 = first.token(a1);
  const Tensor<double, 3> b1 = x * (first.theta(0) + first.phi(0)) + t1 * first.theta(1), k1 = first.channel(b1);
  const Tensor<double, 3> a2 = x * (second.alpha(0) + second.beta(0)) + t1 * second.alpha(1) + k1 * second.beta(1);
  const Tensor<double, 3> t2 = second.token(a2);
  const Tensor<double, 3> b2 =
      x * (second.theta(0) + second.phi(0)) + t1 * second.theta(1) + t2 * second.theta(2) + k1 * second.phi(1);
  const auto result = mix(x);
  CHECK(error_of(result.token, t2) < 1e-14);
  CHECK(error_of(result.out, second.channel(b2)) < 1e-14);

  auto wrong = mix;
  wrong.layer[1].theta = fill<1>({2});
  CHECK_THROWS_WITH(wrong(x), "mambamixer: layer2.theta must have shape (3), got (2)");
  CHECK_THROWS_AS(heed::MambaMixer<double>({.num_layers = 0}), heed::Error);
}
