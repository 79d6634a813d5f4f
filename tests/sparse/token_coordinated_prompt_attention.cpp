// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/token_coordinated_prompt_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("token_coordinated_prompt_attention reads the matched prompts alone") {
  using Op = heed::TokenCoordinatedPromptAttention<float>;
  Op op;
  op.options = {.num_heads = 2, .top_k_cls = 1, .top_k_image = 9, .fourier = false};
  op.keys_cls = random_tensor<float, 2>({3, 4}, 1);
  op.prompts_cls = random_tensor<float, 3>({3, 2, 4}, 2);
  op.keys_image = random_tensor<float, 2>({2, 4}, 3);
  op.prompts_image = random_tensor<float, 3>({2, 1, 4}, 4);
  op.qkv = {random_tensor<float, 2>({12, 4}, 5), {}};
  op.out = {random_tensor<float, 2>({4, 4}, 6), {}};
  auto x = random_tensor<float, 3>({1, 3, 4}, 7);
  for (Index c = 0; c < 4; ++c) x(0, 0, c) = op.keys_cls(1, c);  // the class token matches entry 1

  const auto matched = op(x);
  Op role = op;
  role.options.mask_mode = Op::MaskMode::kRole;
  const auto all = role(x);
  CHECK(all.match_loss.size() == 0);
  // All image entries are matched, so that only the class token differs.
  for (Index i = 0; i < 3; ++i) CHECK((std::abs(matched.out(0, i, 0) - all.out(0, i, 0)) > 1e-5f) == (i == 0));
  double image = 0;
  for (Index i = 1; i < 3; ++i)
    for (Index p = 0; p < 2; ++p) {
      double product = 0, a = 0, b = 0;
      for (Index c = 0; c < 4; ++c) {
        const double u = double(x(0, i, c)), w = double(op.keys_image(p, c));
        product += u * w, a += u * u, b += w * w;
      }
      image += (1 - product / std::sqrt(a * b)) / 4;
    }
  CHECK(double(matched.match_loss(0)) == Approx(image).margin(1e-5));
  op.options.top_k_cls = 0;
  CHECK_THROWS_AS(op(x), heed::Error);
}
