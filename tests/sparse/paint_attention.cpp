// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/paint_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/sparse/paint_token_select.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("paint_token_select takes outliers as summary, the rest by rank") {
  Tensor<float, 4> first(1, 1, 9, 9), late(1, 1, 9, 9);
  first.setZero();
  late.setZero();
  for (Index j = 1; j < 9; ++j) first(0, 0, 0, j) = 0.01f * float(j), late(0, 0, 0, j) = 0.1f + 0.001f * float(j);
  late(0, 0, 0, 8) = 0.9f;
  first(0, 0, 4, 2) = 1;
  const auto masks = heed::PaintTokenSelect{{.num_tokens = 8, .spatial_ratio = 0.125}}(first, late);
  for (Index j = 0; j < 8; ++j) {
    CHECK(int(masks.summary_mask(j)) == (j == 7));
    CHECK(int(masks.local_mask(j)) == (j == 6 || j == 1));
  }
  CHECK_THROWS_AS((heed::PaintTokenSelect{{.num_tokens = 10}}(first, late)), heed::Error);
}

TEST_CASE("paint_attention changes the last row alone, and has the gradient of head_gain") {
  auto q = random_tensor<double, 4>({1, 2, 3, 4}, 1), k = random_tensor<double, 4>({1, 2, 5, 4}, 2);
  auto v = random_tensor<double, 4>({1, 2, 5, 3}, 3);
  auto gain = random_tensor<double, 1>({2}, 4);
  Tensor<std::uint8_t, 1> local(3), summary(3);
  local.setValues({1, 0, 0});
  summary.setValues({0, 0, 1});
  const heed::PaintAttention attend{{.image_start = 1, .image_len = 3}};
  const Tensor<double, 4> out = attend(q, k, v, local, summary);
  const Tensor<double, 4> plain =
      heed::PaintAttention{{.image_start = 1, .image_len = 3, .alpha = 0, .beta = 0}}(q, k, v, local, summary);
  for (Index i = 0; i < 3; ++i) CHECK((std::abs(out(0, 1, i, 0) - plain(0, 1, i, 0)) > 1e-6) == (i == 2));
  heed::test::check_gradients([&](auto&, const auto& a, const auto& b, const auto& c,
                                  const auto& g) { return attend(a, b, c, local, summary, g); },
                              q, k, v, gain);
  CHECK_THROWS_AS(attend(q, k, v, local, local), heed::Error);
  CHECK_THROWS_AS((heed::PaintAttention{{.image_start = 3, .image_len = 3}}(q, k, v, local, summary)), heed::Error);
}
