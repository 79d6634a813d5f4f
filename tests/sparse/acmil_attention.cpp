// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/acmil_attention.hpp"

#include "heed/autodiff/masked_fill.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/sparse/acmil_multihead_attention.hpp"
#include "heed/sparse/attention_diversity_loss.hpp"
#include "heed/sparse/attention_entropy_loss.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

heed::Linear<double> layer(Index out, Index in) { return {fill<2>({out, in}), fill<1>({out})}; }

}  // namespace

TEST_CASE("gated_attention_pool weighs instances, and one alone gives itself") {
  const heed::GatedAttentionPool<double> pool{{}, layer(3, 4), layer(3, 4), layer(2, 3)};
  const auto one = random_tensor<double, 2>({1, 4}, 1);
  const auto result = pool(one);
  for (Index k = 0; k < 2; ++k)
    for (Index c = 0; c < 4; ++c) CHECK(result.out(k, c) == Approx(one(0, c)));
  CHECK_THROWS_AS(pool(Tensor<double, 2>(0, 4)), heed::Error);
  CHECK_THROWS_AS(pool(Tensor<double, 2>(3, 5)), heed::Error);
}

TEST_CASE("stochastic_topk_instance_mask drops some of the largest") {
  Tensor<double, 2> x(1, 4), rand(1, 4);
  x.setValues({{0, 3, 2, 1}});
  rand.setValues({{0.4, 0.2, 0.3, 0.1}});  // ranks 3, 1 of 2, 0 first
  const heed::StochasticTopkInstanceMask mask{{.n_masked = 9, .mask_drop = 0.5}};
  const auto result = mask(x, rand);
  CHECK(result.out(0, 0) == -1e9);
  CHECK(result.out(0, 2) == -1e9);
  CHECK(result.weights(0, 1) == Approx(1 / (1 + std::exp(-2.0))));
  const auto all = heed::StochasticTopkInstanceMask{{.n_masked = 9, .mask_drop = 1}}(x, rand);
  CHECK(all.weights(0, 3) == 0.25);
  CHECK_THROWS_AS(mask(x, Tensor<double, 2>(1, 3)), heed::Error);
}

TEST_CASE("Gradients of acmil_attention with dropped instances") {
  heed::AcmilAttention<double> mil{{.n_masked = 2, .mask_drop = 0.5},
                                   {fill<2>({4, 3}), {}},
                                   {{}, layer(3, 4), layer(3, 4), layer(2, 3)},
                                   fill<3>({2, 2, 4}),
                                   fill<2>({2, 2}),
                                   layer(2, 4)};
  auto x = random_tensor<double, 2>({5, 3}, 1);
  const auto rand = random_tensor<double, 2>({2, 2}, 2);
  check_gradients(
      [&](auto&, const auto& v) {
        const auto result = mil(v, rand);
        return std::make_tuple(result.branch_logits, result.bag_logits);
      },
      x, mil);
  CHECK_THROWS_AS(mil(x), heed::Error);
  CHECK_THROWS_AS(mil(x, Tensor<double, 2>(2, 3)), heed::Error);
}

TEST_CASE("acmil_multihead_attention drops instances of each head") {
  using Branches = heed::AcmilMultiheadAttention<double>::BranchLinear;
  const auto branches = [](Index out) { return Branches{fill<3>({2, out, 4}), fill<2>({2, out})}; };
  const heed::AcmilMultiheadAttention<double> mil{{.num_heads = 2, .n_masked = 1, .mask_drop = 1},
                                                  {fill<2>({4, 3}), {}},
                                                  fill<2>({2, 4}),
                                                  branches(4),
                                                  branches(4),
                                                  branches(4),
                                                  branches(4),
                                                  fill<2>({2, 4}),
                                                  fill<2>({2, 4}),
                                                  branches(3),
                                                  layer(4, 4),
                                                  layer(4, 4),
                                                  {fill<1>({4}), fill<1>({4}), 1e-6},
                                                  layer(3, 4)};
  const auto x = random_tensor<double, 2>({5, 3}, 1);
  const auto result = mil(x, random_tensor<double, 3>({2, 2, 1}, 2));
  for (Index k = 0; k < 2; ++k)
    for (Index h = 0; h < 2; ++h) {
      Index dropped = 0;
      for (Index n = 0; n < 5; ++n) dropped += result.attn_logits(k, h, n) == -1e9;
      CHECK(dropped == 1);
    }
  CHECK(result.branch_logits.dimension(1) == 3);
  CHECK(result.bag_logits.dimension(1) == 3);
  CHECK_THROWS_AS(mil(random_tensor<double, 2>({5, 4}, 1), random_tensor<double, 3>({2, 2, 1}, 2)), heed::Error);
}

TEST_CASE("The losses of attention maps at their ends") {
  Tensor<double, 3> same(2, 3, 4);
  same.setConstant(0.3);
  CHECK(heed::AttentionDiversityLoss()(same)(0) == Approx(1));
  CHECK(heed::AttentionDiversityLoss()(random_tensor<double, 3>({2, 1, 4}, 1))(0) == 0);
  Tensor<double, 2> flat(2, 8);
  flat.setZero();
  CHECK(heed::AttentionEntropyLoss{{.weight = 2}}(flat)(0) == Approx(-2 * std::log(8.0)));
  flat(0, 0) = flat(1, 1) = 1e4;
  CHECK(heed::AttentionEntropyLoss()(flat)(0) == 0);
}
