// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/l2_normalize.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

using heed::L2NormalizeOptions;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Rows have length 1, and those shorter than eps are divided by it") {
  const auto x = random_tensor<float, 3>({2, 3, 17}, 1);
  const auto y = heed::l2_normalize(x);
  for (int b = 0; b < 2; ++b)
    for (int n = 0; n < 3; ++n) {
      float squares = 0;
      for (int c = 0; c < 17; ++c) squares += y(b, n, c) * y(b, n, c);
      CHECK(squares == Approx(1));
    }
  Tensor<float, 2> row(1, 3);
  row.setZero();
  CHECK(heed::l2_normalize(row)(0, 1) == 0);
  CHECK(heed::l2_normalize(row, {.eps_inside = true})(0, 1) == 0);
  row(0, 1) = 1e-20f;
  CHECK(heed::l2_normalize(row)(0, 1) == Approx(1e-8));
  row(0, 1) = -3;
  CHECK(heed::l2_normalize(row)(0, 1) == -1);
  CHECK(heed::l2_normalize(row, {.eps = 6})(0, 1) == Approx(-0.5));
  CHECK(heed::l2_normalize(row, {.eps = 16, .eps_inside = true})(0, 1) == Approx(-0.6));
}

TEST_CASE("l2_normalize on a tape: rows longer and shorter than eps, of a view") {
  auto x = random_tensor<double, 3>({2, 7, 3}, 1);
  for (const L2NormalizeOptions& options :
       {L2NormalizeOptions{}, {.eps = 2.5}, {.eps = 1e3}, {.eps = 2, .eps_inside = true}})
    check_gradients([&](auto&, const auto& v) { return heed::l2_normalize(v.permute({0, 2, 1}), options); }, x);
}

TEST_CASE("An eps that is not positive is refused") {
  const Tensor<float, 2> x(2, 3);
  CHECK_THROWS_AS(heed::l2_normalize(x, {.eps = 0}), heed::Error);
  CHECK_THROWS_AS(heed::l2_normalize(x, {.eps = 1e-60}), heed::Error);
  CHECK_THROWS_AS(heed::l2_normalize(x, {.eps = std::numeric_limits<double>::infinity(), .eps_inside = true}),
                  heed::Error);
}
