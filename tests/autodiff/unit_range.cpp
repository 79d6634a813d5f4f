// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/unit_range.hpp"

#include "support/finite_differences.hpp"

using heed::test::random_tensor;

TEST_CASE("unit_range runs from 0 to 1, and is 0 where all are equal") {
  auto x = random_tensor<float, 3>({2, 3, 5}, 1);
  const auto y = heed::unit_range(x);
  float low = 1, high = 0;
  for (heed::Index i = 0; i < y.size(); ++i) low = std::min(low, y.data()[i]), high = std::max(high, y.data()[i]);
  CHECK(low == 0);
  CHECK(high == 1);
  x.setConstant(3);
  CHECK(heed::unit_range(x)(1, 2, 3) == 0);
}

TEST_CASE("Gradients of unit_range") {
  auto x = random_tensor<double, 3>({2, 3, 5}, 1);
  heed::test::check_gradients([](auto&, const auto& v) { return heed::unit_range(v); }, x);
}
