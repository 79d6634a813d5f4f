// SPDX-License-Identifier: Apache-2.0
#include "heed/block/row_statistics.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::RowScale;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("scale_rows: mean 0 and variance 1 of a sample, or 0 to 1; equal elements become 0") {
  for (const Index width : {1, 3, 17, 63}) {
    auto x = random_tensor<float, 2>({4, width}, 1);
    x.chip<0>(2).setConstant(0.1f);
    const auto z = heed::scale_rows(x, RowScale::kZscore), unit = heed::scale_rows(x, RowScale::kMinmax);
    CHECK(error_of(heed::scale_rows(x, RowScale::kNone), x) == 0);
    for (Index i = 0; i < 4; ++i) {
      double mean = 0, square = 0, low = unit(i, 0), high = low;
      for (Index t = 0; t < width; ++t) {
        mean += z(i, t) / double(width);
        square += z(i, t) * z(i, t);
        low = std::min(low, unit(i, t));
        high = std::max(high, unit(i, t));
      }
      const bool varies = i != 2 && width > 1;
      CHECK(std::abs(mean) < 1e-12);
      CHECK(square == Approx(varies ? double(width - 1) : 0));
      CHECK(low == 0);
      CHECK(high == Approx(varies ? 1 : 0));
    }
    // A row stays where it is shifted and stretched, and the last axis may have any stride.
    Tensor<float, 2> moved = x * 8.0f + 3.0f;
    CHECK(error_of(heed::scale_rows(moved, RowScale::kZscore), z) < (width > 1 ? 1e-4 : 1));
    const Tensor<float, 2> turned = x.shuffle(Eigen::array<int, 2>{1, 0});
    CHECK(error_of(heed::scale_rows(heed::const_view(turned).permute({1, 0}), RowScale::kZscore), z) == 0);
  }
  CHECK(heed::scale_rows(Tensor<float, 2>(3, 0), RowScale::kZscore).size() == 0);
}

TEST_CASE("pool_columns: as many cells as columns is the identity, one cell the mean or the largest") {
  for (const Index width : {1, 3, 17}) {
    const auto x = random_tensor<float, 2>({3, width}, 1);
    CHECK(error_of(heed::pool_columns(x, width, true), x) == 0);
    CHECK(error_of(heed::pool_columns(x, width, false), x) == 0);
    const auto mean = heed::pool_columns(x, 1, false), most = heed::pool_columns(x, 1, true);
    for (Index i = 0; i < 3; ++i) {
      double sum = 0, top = double(x(i, 0));
      for (Index t = 0; t < width; ++t) {
        sum += double(x(i, t));
        top = std::max(top, double(x(i, t)));
      }
      CHECK(mean(i, 0) == Approx(sum / double(width)));
      CHECK(most(i, 0) == top);
    }
    // Cells overlap where the columns do not divide, and repeat where they are fewer.
    const auto more = heed::pool_columns(x, 2 * width, true);
    for (Index cell = 0; cell < 2 * width; ++cell) CHECK(more(1, cell) == double(x(1, cell / 2)));
  }
  Tensor<float, 2> ramp(1, 5);
  ramp.setValues({{1, 2, 3, 4, 5}});
  const auto two = heed::pool_columns(ramp, 2, false);
  CHECK(two(0, 0) == 2);
  CHECK(two(0, 1) == 4);
  CHECK_THROWS_WITH(heed::pool_columns(Tensor<float, 2>(2, 0), 3, false), "pool_columns: no columns cannot become 3");
}

TEST_CASE("correlation: 1 with itself, -1 with its negative, 0 with a constant") {
  const auto x = random_tensor<float, 2>({3, 17}, 1), y = random_tensor<float, 2>({3, 17}, 2);
  CHECK(heed::correlation(x, x) == Approx(1));
  const Tensor<float, 2> back = x * -2.0f + 5.0f;
  CHECK(heed::correlation(x, back) == Approx(-1));
  CHECK(heed::correlation(x, y) == heed::correlation(y, x));
  Tensor<float, 2> constant(3, 17);
  constant.setConstant(0.1f);
  CHECK(heed::correlation(x, constant) == 0);
  CHECK(heed::correlation(Tensor<float, 2>(0, 3), Tensor<float, 2>(0, 3)) == 0);
  CHECK_THROWS_WITH(heed::correlation(x, Tensor<float, 2>(3, 4)), "correlation: y must have shape (3, 17), got (3, 4)");
}
