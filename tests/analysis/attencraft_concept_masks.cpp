// SPDX-License-Identifier: Apache-2.0
#include "heed/analysis/attencraft_concept_masks.hpp"

#include "heed/analysis/attencraft_attention_loss.hpp"
#include "heed/analysis/attention_saliency_correlation.hpp"
#include "heed/analysis/doei_token_optimization.hpp"
#include "heed/autodiff/l2_normalize.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("resize_bicubic keeps a map of its size, and lines but for the border") {
  auto x = random_tensor<double, 4>({1, 2, 3, 5}, 1);
  const auto same = heed::resize_bicubic(x, {3, 5});
  for (Index i = 0; i < x.size(); ++i) CHECK(same.data()[i] == Approx(x.data()[i]));
  Tensor<double, 4> line(1, 1, 1, 9);
  for (Index i = 0; i < 9; ++i) line(0, 0, 0, i) = double(i);
  const auto twice = heed::resize_bicubic(line, {1, 18});
  for (Index i = 6; i < 12; ++i) CHECK(twice(0, 0, 0, i) == Approx((double(i) + 0.5) / 2 - 0.5).epsilon(0.02));
  check_gradients([](auto&, const auto& v) { return heed::resize_bicubic(v, {7, 2}); }, x);
}

TEST_CASE("attencraft_concept_masks gives a pixel to one concept at most") {
  const auto cross = random_tensor<float, 3>({3, 3, 3}, 2);
  const Tensor<float, 2> self = heed::softmax(random_tensor<float, 2>({16, 16}, 3));
  const auto result = heed::AttencraftConceptMasks{{.resolution = 4}}(cross, self);
  for (Index p = 0; p < 16; ++p) {
    int owners = 0;
    for (Index t = 0; t < 3; ++t) owners += result.masks(t, p / 4, p % 4);
    CHECK(owners <= 1);
  }
  for (Index t = 0; t < 3; ++t) CHECK((result.mask_token(t) >= 0 && result.mask_token(t) < 3));
  CHECK_THROWS_AS((heed::AttencraftConceptMasks{{.resolution = 5}}(cross, self)), heed::Error);
}

TEST_CASE("attencraft_attention_loss is 0 for equal maps, and has its gradient") {
  auto x = random_tensor<double, 3>({2, 3, 3}, 1), y = random_tensor<double, 3>({2, 3, 3}, 2);
  CHECK(std::abs(heed::AttencraftAttentionLoss()(x, x)(0)) < 1e-15);
  CHECK(heed::AttencraftAttentionLoss()(x, y)(0) > 0);
  check_gradients([](auto&, const auto& a, const auto& b) { return heed::AttencraftAttentionLoss()(a, b); }, x, y);
}

TEST_CASE("attention_saliency_correlation of a map with itself is 1") {
  using Op = heed::AttentionSaliencyCorrelation;
  const auto map = random_tensor<double, 2>({3, 4}, 1);
  Tensor<double, 3> saliency(3, 8, 2);
  for (Index i = 0; i < 3; ++i)
    for (Index t = 0; t < 8; ++t) saliency(i, t, 0) = saliency(i, t, 1) = map(i, t / 2);
  for (const auto reduce : {Op::Reduce::kMax, Op::Reduce::kMean})
    for (const auto scale : {heed::RowScale::kZscore, heed::RowScale::kMinmax, heed::RowScale::kNone})
      CHECK(Op{{reduce, reduce, scale}}(map, saliency).correlation == Approx(1));
  saliency.setConstant(2);
  CHECK(Op()(map, saliency).correlation == 0);
  CHECK_THROWS_AS(Op()(map, Tensor<double, 3>(2, 8, 2)), heed::Error);
}

TEST_CASE("Gradients of doei_token_optimization") {
  auto tokens = random_tensor<double, 2>({5, 3}, 1), affinity = random_tensor<double, 2>({5, 5}, 3);
  Tensor<double, 2> attn = heed::softmax(random_tensor<double, 2>({5, 5}, 2));
  const heed::DoeiTokenOptimization op{{.num_class = 2}};
  check_gradients([&](auto&, const auto& t, const auto& a, const auto& r) { return op(t, a, r); }, tokens, attn,
                  affinity);
  CHECK_THROWS_AS((heed::DoeiTokenOptimization{{.num_class = 5}}(tokens, attn, affinity)), heed::Error);
}
