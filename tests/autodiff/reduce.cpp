// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/reduce.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("sum and mean keep the axes that they run over with size 1") {
  const auto x = random_tensor<float, 3>({3, 17, 5}, 1);
  const auto s = heed::sum(x, {1});
  const auto m = heed::mean(x, {0, 2});
  REQUIRE(heed::const_view(s).sizes == std::array<Index, 3>{3, 1, 5});
  REQUIRE(heed::const_view(m).sizes == std::array<Index, 3>{1, 17, 1});
  for (Index j = 0; j < 17; ++j) {
    double want = 0;
    for (Index i = 0; i < 3; ++i)
      for (Index k = 0; k < 5; ++k) want += double(x(i, j, k)) / 15;
    CHECK(double(m(0, j, 0)) == Approx(want).margin(1e-6));
  }
  for (Index i = 0; i < 3; ++i)
    for (Index k = 0; k < 5; ++k) {
      double want = 0;
      for (Index j = 0; j < 17; ++j) want += double(x(i, j, k));
      CHECK(double(s(i, 0, k)) == Approx(want).margin(1e-5));
    }
  CHECK_THROWS_AS(heed::sum(x, {3}), heed::Error);
}

TEST_CASE("Gradients of sum and mean") {
  auto x = random_tensor<double, 3>({3, 4, 5}, 1);
  check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(heed::sum(v, {0, 2}, 0.5), heed::mean(v, {1}));
      },
      x);
}
