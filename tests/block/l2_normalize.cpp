// SPDX-License-Identifier: Apache-2.0
#include "heed/block/l2_normalize.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("l2_normalize: rows of length 1, those shorter than eps divided by it; zeros stay") {
  for (const Index width : {1, 3, 17, 63}) {
    auto x = random_tensor<float, 3>({2, 5, width}, 1);
    for (Index c = 0; c < width; ++c) x(0, 1, c) = 0;
    for (Index c = 0; c < width; ++c) x(1, 2, c) *= 1e-6f;
    Tensor<double, 3> want(2, 5, width);
    for (Index r = 0; r < 10; ++r) {
      double square = 0;
      for (Index c = 0; c < width; ++c) square += std::pow(double(x.data()[r * width + c]), 2);
      for (Index c = 0; c < width; ++c)
        want.data()[r * width + c] = square > 0 ? double(x.data()[r * width + c]) / std::sqrt(square) : 0;
    }
    CHECK(error_of(heed::l2_normalize(x), want) < 1e-6);
    CHECK(error_of(heed::l2_normalize(x, {.eps = 1e-20, .eps_inside = true}), want) < 1e-6);
    // Of another scale, and at any strides, the same.
    const Tensor<float, 3> large = x * 1024.0f, turned = x.shuffle(Eigen::array<int, 3>{2, 0, 1});
    CHECK(error_of(heed::l2_normalize(DeviceRef(), large), want) < 1e-6);
    CHECK(error_of(heed::l2_normalize(DeviceRef(), heed::const_view(turned).permute({1, 2, 0})), want) < 1e-6);
    CHECK(heed::l2_normalize(x, {.eps = 1e3})(1, 4, 0) == Approx(x(1, 4, 0) / 1e3));
  }
  CHECK(heed::l2_normalize(Tensor<float, 2>(3, 0)).size() == 0);
  Tensor<float, 2> row(1, 3);
  row.setZero();
  CHECK(heed::l2_normalize(row, {.eps_inside = true})(0, 1) == 0);
  row(0, 1) = 1e-20f;
  CHECK(heed::l2_normalize(row)(0, 1) == Approx(1e-8));
  row(0, 1) = -3;
  CHECK(heed::l2_normalize(row, {.eps = 16, .eps_inside = true})(0, 1) == Approx(-0.6));
  CHECK_THROWS_WITH(heed::l2_normalize(row, {.eps = 0}), "l2_normalize: eps must be positive, got 0");
  CHECK_THROWS_AS(heed::l2_normalize(row, {.eps = 1e-60}), heed::Error);  // 0 as a float
}
