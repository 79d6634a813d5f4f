// SPDX-License-Identifier: Apache-2.0
#include "heed/block/rotate_heads.hpp"

#include "catch.hpp"
#include "heed/block/positions.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("rotate_heads turns each head of tokens as rotate does; products depend on the distance alone") {
  const auto x = random_tensor<float, 3>({2, 17, 12}, 1);
  const auto positions = heed::position_range(5, 17);
  CHECK(positions(0, 0) == 5);
  CHECK(positions(0, 16) == 21);
  const auto y = heed::rotate_heads(DeviceRef(), x, 3, heed::const_view(positions), {.base = 100});
  const auto want = heed::rotate(DeviceRef(), heed::split_heads(x, 3), heed::const_view(positions), {.base = 100});
  CHECK(error_of(heed::split_heads(y, 3), want) == 0);

  const auto shifted = heed::position_range(1000, 17);
  const auto z = heed::rotate_heads(DeviceRef(), x, 3, heed::const_view(shifted), {.base = 100});
  for (Index i = 0; i < 17; ++i) {
    double here = 0, there = 0;
    for (Index c = 0; c < 4; ++c) {
      here += double(y(1, i, c)) * double(y(1, 3, c));
      there += double(z(1, i, c)) * double(z(1, 3, c));
    }
    CHECK(std::abs(here - there) < 1e-3);
  }
  CHECK_THROWS_AS(heed::rotate_heads(DeviceRef(), x, 5, heed::const_view(positions), {}), heed::Error);
  CHECK_THROWS_WITH(
      heed::rotate_heads(DeviceRef(), x, 4, heed::const_view(heed::position_range(0, 3)), {}, "an_operator"),
      heed::test::contains("an_operator: "));
}
