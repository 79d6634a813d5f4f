// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/concat.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of concat") {
  auto a = random_tensor<double, 3>({2, 3, 5}, 1), b = random_tensor<double, 3>({2, 3, 5}, 2);
  SECTION("along each axis") {
    check_gradients(
        [](auto&, const auto& x, const auto& y) {
          return std::make_tuple(heed::concat<0>(x, y), heed::concat<1>(y, x, y), heed::concat<2>(x, y));
        },
        a, b);
  }
  SECTION("with a part that is broadcast, and parts of variables") {
    auto extra = random_tensor<double, 1>({5}, 3);
    check_gradients(
        [](auto&, const auto& x, const auto& y, const auto& e) {
          return heed::concat<1>(x.slice(1, 1, 2), e.template promote<3>(), y.permute({0, 1, 2}).slice(1, 0, 1));
        },
        a, b, extra);
  }
}

TEST_CASE("Gradients of contiguous") {
  auto x = random_tensor<double, 4>({2, 3, 4, 5}, 1);
  check_gradients([](auto&, const auto& v) { return heed::contiguous(v.permute({0, 2, 1, 3})).merge(2); }, x);
}
