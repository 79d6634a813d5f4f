// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/multi_level_feature_distribution.hpp"

#include "heed/autodiff/conv_transpose_2d.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("multi_level_feature_distribution: shares of unequal width, gradients, errors") {
  heed::MultiLevelFeatureDistribution<double> op;
  const Index channels[] = {1, 2, 3}, share[3][3] = {{2, 1, 1}, {1, 1, 2}, {1, 3, 1}};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      const Index k = Index(1) << (j > i ? j - i : 0), s = share[i][j];
      if (i == j) op.same[i] = {{fill<2>({s, channels[j]}), {}}, random_batch_norm(s)};
      if (j > i) op.up[i + j - 1] = {{fill<4>({channels[j], s, k, k}), {}}, random_batch_norm(s)};
      if (j < i) op.down[i + j - 1] = {{fill<4>({s, channels[j], 3, 3}), {}}, random_batch_norm(s)};
    }
  auto f0 = random_tensor<double, 4>({1, 1, 8, 4}, 1), f1 = random_tensor<double, 4>({1, 2, 4, 2}, 2);
  auto f2 = random_tensor<double, 4>({1, 3, 2, 1}, 3);
  const auto got = op(f0, f1, f2);
  CHECK(heed::const_view(got.f0).sizes == std::array<Index, 4>{1, 4, 8, 4});
  CHECK(heed::const_view(got.f1).sizes == std::array<Index, 4>{1, 4, 4, 2});
  CHECK(heed::const_view(got.f2).sizes == std::array<Index, 4>{1, 5, 2, 1});
  heed::test::check_gradients(
      [&](auto&, const auto& a, const auto& b, const auto& c) {
        const auto y = op(a, b, c);
        return std::make_tuple(y.f0, y.f1, y.f2);
      },
      f0, f1, f2, op);
  CHECK_THROWS_WITH(
      op(random_tensor<double, 4>({1, 1, 8, 6}, 1), f1, f2),
      "multi_level_feature_distribution: f0 must have rows and columns divisible by 4, got shape (1, 1, 8, "
      "6)");
  CHECK_THROWS_AS(op(f0, f2, f2), heed::Error);
}
