// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/window_mix.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("window_mix by ones counts pairs of positions that share a window") {
  Tensor<float, 5> weights(1, 4, 5, 9, 9);
  Tensor<float, 4> values(1, 4, 5, 17);
  weights.setConstant(1);
  values.setConstant(1);
  const Tensor<float, 4> out = heed::window_mix(Eigen::DefaultDevice(), weights, values, {});
  CHECK(out(0, 1, 2, 16) == 9 * 9 - 3 * 3);  // nine windows, three of which lose a row
  CHECK(out(0, 0, 0, 0) == 4 + 6 + 6 + 9);
  CHECK_THROWS_AS(heed::window_mix(Eigen::DefaultDevice(), weights, values, {.stride = 2}), heed::Error);
  CHECK_THROWS_AS(heed::window_mix(Eigen::DefaultDevice(), weights, values, {.padding = -1}), heed::Error);
}

TEST_CASE("Gradients of window_mix") {
  auto weights = random_tensor<double, 5>({2, 2, 2, 18, 9}, 1);
  auto values = random_tensor<double, 4>({2, 4, 3, 5}, 2);
  check_gradients(
      [](auto&, const auto& w, const auto& v) {
        return heed::window_mix(Eigen::DefaultDevice(), w, v.permute({0, 2, 1, 3}).slice(3, 1, 4), {.stride = 2});
      },
      weights, values);
}
