// SPDX-License-Identifier: Apache-2.0
#include "heed/block/threshold.hpp"

#include <limits>

#include "catch.hpp"

TEST_CASE("threshold_mask shows what reaches its row's limit") {
  heed::Tensor<float, 2> x(2, 3);
  x.setValues({{1, 2, std::numeric_limits<float>::quiet_NaN()}, {-1, -2, -3}});
  heed::Tensor<float, 1> limit(2);
  limit.setValues({2, -1});
  const auto mask = heed::threshold_mask(x, limit, -1);
  const bool want[2][3] = {{true, true, false}, {true, true, false}};
  for (heed::Index b = 0; b < 2; ++b)
    for (heed::Index j = 0; j < 3; ++j) CHECK(mask(b, j) == want[b][j]);
  CHECK_THROWS_AS(heed::threshold_mask(x, heed::Tensor<float, 1>(3)), heed::Error);
}
