// SPDX-License-Identifier: Apache-2.0
#include "heed/block/region.hpp"

#include "heed/autodiff/concat.hpp"
#include "support/finite_differences.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("to_regions orders a map by its regions, from_regions undoes it") {
  const auto x = random_tensor<float, 4>({2, 6, 15, 3}, 1);
  for (const auto& [rh, rw] : {std::pair<Index, Index>{1, 1}, {2, 3}, {6, 15}, {3, 1}, {1, 5}}) {
    const auto regions = heed::to_regions(DeviceRef(), x, rh, rw);
    const Index across = 15 / rw;
    REQUIRE(heed::const_view(regions).sizes == std::array<Index, 4>{2, 6 / rh * across, rh * rw, 3});
    bool right = true;
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < 6; ++i)
        for (Index j = 0; j < 15; ++j)
          for (Index c = 0; c < 3; ++c)
            right &= regions(b, i / rh * across + j / rw, i % rh * rw + j % rw, c) == x(b, i, j, c);
    CHECK(right);
    CHECK(error_of(heed::from_regions(DeviceRef(), regions, across, rw), x) == 0);
    // A map whose channels lie in front: read where it is.
    const auto first = random_tensor<float, 4>({2, 3, 6, 15}, 2);
    const auto last = heed::const_view(first).permute({0, 2, 3, 1});
    CHECK(error_of(heed::from_regions(DeviceRef(), heed::to_regions(DeviceRef(), last, rh, rw), across, rw), last) ==
          0);
  }
  CHECK(heed::to_regions(DeviceRef(), Tensor<float, 4>(0, 4, 4, 3), 2, 2).size() == 0);
  CHECK(heed::to_regions(DeviceRef(), Tensor<float, 4>(2, 0, 4, 3), 2, 2).dimension(1) == 0);
  CHECK_THROWS_WITH(heed::to_regions(DeviceRef(), x, 4, 3),
                    "to_regions: regions of 4 x 3 must divide a map of shape (2, 6, 15, 3)");
  CHECK_THROWS_WITH(heed::from_regions(DeviceRef(), Tensor<float, 4>(1, 6, 4, 2), 4, 2),
                    "from_regions: regions of shape (1, 6, 4, 2) must be rows of 4 and of width 2");
}

TEST_CASE("pad_map: zeros at the bottom and the right") {
  const auto x = random_tensor<float, 4>({2, 3, 5, 2}, 1);
  for (const auto& [height, width] : {std::pair<Index, Index>{3, 5}, {4, 5}, {3, 8}, {7, 9}}) {
    const auto y = heed::pad_map(DeviceRef(), x, height, width);
    REQUIRE(heed::const_view(y).sizes == std::array<Index, 4>{2, height, width, 2});
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < height; ++i)
        for (Index j = 0; j < width; ++j) CHECK(y(b, i, j, 1) == (i < 3 && j < 5 ? x(b, i, j, 1) : 0));
  }
  CHECK_THROWS_WITH(heed::pad_map(DeviceRef(), x, 2, 5),
                    "pad_map: a map of shape (2, 3, 5, 2) cannot be padded to 2 x 5");
}

TEST_CASE("Gradients of regions of a padded map") {
  auto x = random_tensor<double, 4>({1, 3, 4, 2}, 1);
  heed::test::check_gradients(
      [](auto&, const auto& v) { return heed::to_regions(DeviceRef(), heed::pad_map(DeviceRef(), v, 4, 6), 2, 3); }, x);
  auto regions = random_tensor<double, 4>({1, 4, 6, 2}, 1);
  heed::test::check_gradients([](auto&, const auto& v) { return heed::from_regions(DeviceRef(), v, 2, 3); }, regions);
}
