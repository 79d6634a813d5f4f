// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/softmax.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

TEST_CASE("softmax on a tape") {
  auto x = heed::test::random_tensor<double, 3>({2, 3, 17}, 1);
  heed::test::check_gradients(
      [](auto&, const auto& v) {
        return std::tuple(heed::softmax(v), heed::softmax(v.permute({0, 2, 1})));
      },
      x);
}
