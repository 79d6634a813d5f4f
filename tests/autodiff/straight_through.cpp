// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/straight_through.hpp"

#include "support/finite_differences.hpp"

using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("straight_through has the values of one tensor and the gradient of another") {
  const auto x = random_tensor<double, 3>({2, 3, 5}, 1), value = random_tensor<double, 3>({2, 3, 5}, 2);
  CHECK(error_of(heed::straight_through(x, value), value) == 0);
  CHECK_THROWS_AS(heed::straight_through(x, random_tensor<double, 3>({2, 3, 4}, 2)), heed::Error);
}

TEST_CASE("Gradients of straight_through") {
  // With the values of x itself the result moves with x, and differences can tell; other values change nothing of it.
  auto x = random_tensor<double, 3>({2, 3, 5}, 1);
  heed::test::check_gradients([](auto&, const auto& v) { return heed::straight_through(v, heed::values_of(v)); }, x);
}
