// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/unit_range.hpp"

#include "support/finite_differences.hpp"

using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("The range of a tensor as 0 to 1, with its gradient") {
  auto x = random_tensor<double, 2>({3, 7}, 1);
  const auto out = heed::unit_range(x);
  double least = 1, most = 0;
  for (heed::Index i = 0; i < out.size(); ++i) {
    least = std::min(least, out.data()[i]);
    most = std::max(most, out.data()[i]);
  }
  CHECK(least == 0);
  CHECK(most == 1);
  check_gradients([](auto&, const auto& v) { return heed::unit_range(v); }, x);
  x.setConstant(3);
  CHECK(heed::unit_range(x)(2, 5) == 0);
}
