// SPDX-License-Identifier: Apache-2.0
#include "heed/self/medusa_attention.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

heed::MedusaAttention<double> medusa(bool residual) {
  heed::MedusaAttention<double> op({.num_levels = 2, .num_scales = 2, .residual = residual});
  op.enc[0] = {fill<4>({2, 1, 3, 3}), fill<1>({2})};
  op.enc[1] = {fill<4>({3, 2, 3, 3}), fill<1>({3})};
  op.dec[0] = {fill<4>({2, 3, 3, 3}), {}};
  op.dec[1] = {fill<4>({2, 2, 3, 3}), fill<1>({2})};
  op.head[0] = {fill<4>({3, 2, 3, 3}), fill<1>({3})};
  op.head[1] = {fill<4>({1, 2, 3, 3}), fill<1>({1})};
  return op;
}

}  // namespace

TEST_CASE("medusa_attention: odd images, and heads that say nothing halve") {
  auto op = medusa(false);
  for (auto& head : op.head) head.weight.setZero(), head.bias.setZero();
  const auto image = random_tensor<double, 4>({2, 1, 5, 7}, 1);
  const std::vector<heed::Tensor<double, 4>> features{random_tensor<double, 4>({2, 3, 3, 1}, 2),
                                                      random_tensor<double, 4>({2, 1, 17, 2}, 3)};
  const auto got = op(image, features);
  CHECK(heed::const_view(got.global_map).sizes == std::array<Index, 4>{2, 2, 8, 8});
  CHECK(got.features[1](1, 0, 16, 1) == features[1](1, 0, 16, 1) / 2);
  op.options.residual = true;
  CHECK(op(image, features).features[0](1, 2, 0, 0) == features[0](1, 2, 0, 0) * 1.5);
  CHECK_THROWS_AS(op(image, std::vector<heed::Tensor<double, 4>>{features[0]}), heed::Error);
  CHECK_THROWS_AS(op(random_tensor<double, 4>({2, 2, 5, 7}, 1), features), heed::Error);
}

TEST_CASE("Gradients of medusa_attention") {
  auto op = medusa(true);
  auto image = random_tensor<double, 4>({1, 1, 5, 4}, 1);
  auto f0 = random_tensor<double, 4>({1, 3, 2, 2}, 2), f1 = random_tensor<double, 4>({1, 1, 3, 1}, 3);
  heed::test::check_gradients(
      [&](auto&, const auto& i, const auto& a, const auto& b) {
        const auto y = op(i, std::vector<heed::Var<double, 4>>{a, b});
        return std::make_tuple(y.global_map, y.features[0], y.features[1]);
      },
      image, f0, f1, op);
}
