// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/blend.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("blend is the weighted mean") {
  const auto a = random_tensor<float, 3>({2, 3, 17}, 1), b = random_tensor<float, 3>({2, 3, 17}, 2);
  const auto weight = random_tensor<float, 3>({2, 1, 17}, 3);
  const auto got = heed::blend(weight, a, b);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 17; ++k) {
        const double w = double(weight(i, 0, k));
        CHECK(double(got(i, j, k)) == Approx(w * double(a(i, j, k)) + (1 - w) * double(b(i, j, k))).margin(1e-6));
      }
  CHECK_THROWS_AS(heed::blend(weight, a, weight), heed::Error);
}

TEST_CASE("Gradients of blend, of clamp and of prelu") {
  auto a = random_tensor<double, 3>({2, 3, 5}, 1), b = random_tensor<double, 3>({2, 3, 5}, 2);
  auto weight = random_tensor<double, 3>({2, 1, 5}, 3);
  auto slope = random_tensor<double, 1>({1}, 4);
  check_gradients(
      [](auto&, const auto& w, const auto& x, const auto& y, const auto& s) {
        return std::make_tuple(heed::blend(w, x, y), heed::clamp(x, -0.5, 0.7), heed::prelu(y, s));
      },
      weight, a, b, slope);
}
