// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/l2vit_linear_attention.hpp"

#include "heed/autodiff/linear_attention.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/linear/l2vit_block.hpp"
#include "support/mixers.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::layer;
using heed::test::random_batch_norm;
using heed::test::random_layer_norm;
using heed::test::random_mlp;
using heed::test::random_tensor;

namespace {

Tensor<double, 3> naive(const heed::L2vitLinearAttention<double>& attend, const Tensor<double, 3>& x) {
  const Index channels = x.dimension(2), width = channels / attend.options.num_heads;
  const Tensor<double, 3> packed = attend.qkv(x);
  Tensor<double, 3> o(x.dimensions());
  o.setZero();
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index h = 0; h < attend.options.num_heads; ++h)
      for (Index i = 0; i < x.dimension(1); ++i) {
        double total = 0;
        for (Index j = 0; j < x.dimension(1); ++j) {
          double dot = 0;
          for (Index d = h * width; d < (h + 1) * width; ++d)
            dot += std::max(0.0, packed(b, i, d)) * std::max(0.0, packed(b, j, channels + d));
          total += dot;
          for (Index d = h * width; d < (h + 1) * width; ++d) o(b, i, d) += dot * packed(b, j, 2 * channels + d);
        }
        for (Index d = h * width; d < (h + 1) * width; ++d)
          o(b, i, d) *= attend.temperature(h) / std::max(total, attend.options.denom_min);
      }
  return attend.out(o);
}

heed::L2vitLinearAttention<double> random_attention(Index channels, Index heads, double floor) {
  return {{.num_heads = heads, .denom_min = floor},
          layer(3 * channels, channels),
          layer(channels, channels),
          fill<1>({heads})};
}

heed::LocalConcentrationModule<double> random_module(Index h, Index w, Index channels, Index k) {
  return {{.h = h, .w = w},
          {fill<4>({channels, 1, k, k}), fill<1>({channels})},
          {fill<4>({channels, 1, k, k}), fill<1>({channels})},
          random_batch_norm(channels)};
}

}  // namespace

TEST_CASE("l2vit_linear_attention is its sum over pairs, with the floor above, below and among its weights") {
  for (const double floor : {1e-9, 1.5, 100.0}) {
    const auto attend = random_attention(6, 2, floor);
    for (const Index tokens : {1, 3, 17}) {
      const auto x = random_tensor<double, 3>({2, tokens, 6}, 1);
      CHECK(error_of(attend(x), naive(attend, x)) < 1e-13);
    }
  }
  auto attend = random_attention(4, 2, 1.0);
  auto x = random_tensor<double, 3>({1, 4, 4}, 2);
  check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  attend.temperature = fill<1>({3});
  CHECK_THROWS_WITH(attend(x), "l2vit_linear_attention: temperature must have shape (2), got (3)");
}

TEST_CASE("local_concentration_module: maps smaller than the kernel see zeros around them") {
  auto module = random_module(2, 3, 3, 7);
  auto x = random_tensor<double, 3>({2, 6, 3}, 1);
  check_gradients([&](auto&, const auto& v) { return module(v); }, x, module);
  CHECK_THROWS_AS(module(random_tensor<double, 3>({2, 5, 3}, 1)), heed::Error);

  // Of one position only the centres act.
  const auto single = random_module(1, 1, 2, 3);
  const auto one = random_tensor<double, 3>({1, 1, 2}, 2);
  const auto got = single(one);
  for (Index c = 0; c < 2; ++c) {
    const double a = single.dw1.weight(c, 0, 1, 1) * one(0, 0, c) + single.dw1.bias(c);
    const double g = a / 2 * (1 + std::erf(a / std::sqrt(2.0)));
    const double n =
        (g - single.bn.mean(c)) / std::sqrt(single.bn.var(c) + 1e-5) * single.bn.weight(c) + single.bn.bias(c);
    CHECK(std::abs(got(0, 0, c) - (single.dw2.weight(c, 0, 1, 1) * n + single.dw2.bias(c))) < 1e-12);
  }
}

TEST_CASE("Gradients of l2vit_block, with and without concentration") {
  auto x = random_tensor<double, 3>({1, 6, 4}, 1);
  for (const bool enhanced : {false, true}) {
    heed::L2vitBlock<double> block({.h = 2, .w = 3, .num_heads = 2, .enhanced = enhanced});
    block.cpe = {fill<4>({4, 1, 3, 3}), fill<1>({4})};
    block.norm1 = random_layer_norm(4);
    block.norm2 = random_layer_norm(4);
    block.attn = random_attention(4, 2, 100.0);
    block.ffn = random_mlp(4, 3);
    if (enhanced) {
      block.norm3 = random_layer_norm(4);
      block.lcm = random_module(2, 3, 4, 3);
    }
    check_gradients([&](auto&, const auto& v) { return block(v); }, x, block);
  }
}
