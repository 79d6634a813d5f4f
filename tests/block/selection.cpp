// SPDX-License-Identifier: Apache-2.0
#include "heed/block/selection.hpp"

#include "catch.hpp"

using heed::Tensor;

TEST_CASE("Masks of the largest elements, ties to the lower index") {
  Tensor<float, 2> x(2, 4);
  x.setValues({{1, 3, 3, 2}, {5, 5, 5, 5}});
  const auto mask = heed::largest_mask(heed::DeviceRef(), x, 2);
  const int want[2][4] = {{0, 1, 1, 0}, {1, 1, 0, 0}};
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 4; ++j) CHECK(int(mask(i, j)) == want[i][j]);
  CHECK(int(heed::largest_mask(heed::DeviceRef(), x, 9)(1, 3)) == 1);
  CHECK(int(heed::largest_mask(heed::DeviceRef(), x, 0)(1, 3)) == 0);
}

TEST_CASE("Draws name the ranks that are dropped") {
  Tensor<float, 1> x(5), draws(3);
  x.setValues({1, 9, 4, 7, 0});         // ranks: 1, 3, 2
  draws.setValues({0.5f, 0.1f, 0.9f});  // order: rank 1, 0, 2
  const auto keep = heed::random_drop_mask(heed::DeviceRef(), x, draws, 2);
  const int want[5] = {1, 0, 1, 0, 1};
  for (int i = 0; i < 5; ++i) CHECK(int(keep(i)) == want[i]);
  CHECK_THROWS_AS(heed::random_drop_mask(heed::DeviceRef(), x, draws, 4), heed::Error);
}

TEST_CASE("Thresholds within the range of a row, and outliers") {
  Tensor<float, 2> x(2, 4);
  x.setValues({{1, 3, 2, 5}, {2, 2, 2, 2}});
  const auto mask = heed::above_in_range(x, 0.5);
  for (int j = 0; j < 4; ++j) {
    CHECK(int(mask(0, j)) == (j == 3));
    CHECK(int(mask(1, j)) == 0);
  }
  Tensor<double, 1> values(8);
  values.setValues({1, 2, 3, 4, 5, 6, 7, 40});
  CHECK(heed::count_outliers(values) == 1);
  CHECK(heed::count_outliers(Tensor<double, 1>(0)) == 0);
}
