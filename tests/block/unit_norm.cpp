// SPDX-License-Identifier: Apache-2.0
#include "heed/block/unit_norm.hpp"

#include "catch.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/unit_rows.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("unit_norm, unit_rows and l2_normalize: rows of length 1; zeros stay") {
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
    CHECK(error_of(heed::unit_norm(DeviceRef(), x), want) < 1e-6);
    CHECK(error_of(heed::unit_rows(x), want) < 1e-6);
    CHECK(error_of(heed::l2_normalize(DeviceRef(), x), want) < 1e-6);
    // Of another scale, and at any strides, the same.
    const Tensor<float, 3> large = x * 1024.0f, turned = x.shuffle(Eigen::array<int, 3>{2, 0, 1});
    CHECK(error_of(heed::unit_norm(DeviceRef(), large), want) < 1e-6);
    CHECK(error_of(heed::unit_norm(DeviceRef(), heed::const_view(turned).permute({1, 2, 0})), want) < 1e-6);
    // A length below eps is divided by eps.
    CHECK(heed::l2_normalize(DeviceRef(), x, 1e3)(1, 4, 0) == Approx(x(1, 4, 0) / 1e3));
  }
  CHECK(heed::unit_rows(Tensor<float, 2>(3, 0)).size() == 0);
  CHECK_THROWS_WITH(heed::l2_normalize(DeviceRef(), Tensor<float, 2>(1, 2), 0),
                    "l2_normalize: eps must be positive with a square above 0, got 0");
  CHECK_THROWS_AS(heed::l2_normalize(DeviceRef(), Tensor<float, 2>(1, 2), 1e-30), heed::Error);
}
