// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/masked_fill.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_mask;
using heed::test::random_tensor;

TEST_CASE("masked_fill puts a number where the mask is 0, by rows where the mask has one column") {
  auto x = random_tensor<float, 3>({2, 5, 17}, 1);
  const auto mask = random_mask<2>({2, 5}, 2, 0.5);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 5; ++n)
      if (mask(b, n) == 0) x(b, n, 3) = float(heed::test::kNaN);
  const auto got = heed::masked_fill(x, heed::const_view(mask).split(1, 1), -2);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 5; ++n)
      for (Index c = 0; c < 17; ++c) CHECK(got(b, n, c) == (mask(b, n) == 0 ? -2 : x(b, n, c)));
  CHECK_THROWS_AS(heed::masked_fill(x, random_mask<3>({2, 4, 1}, 1, 1), 0), heed::Error);
}

TEST_CASE("visible_or_all shows everything where a row shows nothing") {
  Tensor<std::uint8_t, 2> mask(3, 3);
  mask.setValues({{0, 1, 0}, {0, 0, 0}, {1, 1, 1}});
  const auto got = heed::visible_or_all(mask);
  for (Index j = 0; j < 3; ++j) {
    CHECK(got(0, j) == (j == 1));
    CHECK(got(1, j) == 1);
    CHECK(got(2, j) == 1);
  }
  CHECK(heed::visible_or_all(Tensor<std::uint8_t, 2>(3, 0)).size() == 0);
}

TEST_CASE("Gradients of masked_fill") {
  auto x = random_tensor<double, 3>({2, 3, 4}, 1);
  const auto mask = random_mask<3>({2, 1, 4}, 2, 0.5);
  check_gradients([&](auto&, const auto& v) { return heed::masked_fill(v, mask, 3); }, x);
}
