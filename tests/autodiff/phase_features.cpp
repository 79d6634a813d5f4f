// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/phase_features.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::random_tensor;

TEST_CASE("phase_features turn with the position") {
  for (const Index tokens : {0, 1, 3, 17, 130}) {
    const auto x = random_tensor<float, 4>({2, 2, tokens, 3}, 1);
    const auto theta = random_tensor<float, 2>({2, 3}, 2);
    const auto y = heed::phase_features(Eigen::DefaultDevice(), x, theta, 1000);
    heed::Tensor<double, 4> want(2, 2, tokens, 6);
    for (Index i = 0; i < x.size(); ++i) {
      const Index d = i % 3, n = i / 3 % tokens, h = i / 3 / tokens % 2, b = i / 3 / tokens / 2;
      want(b, h, n, d) = x(b, h, n, d) * std::cos(double(n + 1000) * theta(h, d));
      want(b, h, n, 3 + d) = x(b, h, n, d) * std::sin(double(n + 1000) * theta(h, d));
    }
    CHECK(heed::test::error_of(y, want) < 1e-6);
  }
  const auto x = random_tensor<float, 4>({1, 2, 3, 4}, 1);
  CHECK_THROWS_WITH(heed::phase_features(Eigen::DefaultDevice(), x, random_tensor<float, 2>({2, 3}, 2)),
                    "phase_features: theta must have shape (H, D) = (2, 4), or 1 in their place, got (2, 3)");
}

TEST_CASE("Gradients of phase_features") {
  auto x = random_tensor<double, 4>({2, 2, 3, 2}, 1);
  for (const Index heads : {1, 2})
    for (const Index width : {1, 2}) {
      auto theta = random_tensor<double, 2>({heads, width}, 2);
      heed::test::check_gradients(
          [](auto&, const auto& a, const auto& t) { return heed::phase_features(Eigen::DefaultDevice(), a, t, 5); }, x,
          theta);
    }
}
