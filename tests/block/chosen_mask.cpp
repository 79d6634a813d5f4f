// SPDX-License-Identifier: Apache-2.0
#include "heed/block/chosen_mask.hpp"

#include "catch.hpp"

using heed::Index;
using heed::Tensor;

TEST_CASE("chosen_mask is 1 where an index says so; negative ones choose nothing") {
  Tensor<std::int32_t, 3> indices(2, 2, 3);
  indices.setValues({{{0, 4, 4}, {-1, 2, -7}}, {{3, 1, 0}, {-1, -1, -1}}});
  const auto mask = heed::chosen_mask<float>(indices, 5);
  const float want[2][2][5] = {{{1, 0, 0, 0, 1}, {0, 0, 1, 0, 0}}, {{1, 1, 0, 1, 0}, {0, 0, 0, 0, 0}}};
  for (Index b = 0; b < 2; ++b)
    for (Index r = 0; r < 2; ++r)
      for (Index j = 0; j < 5; ++j) CHECK(mask(b, r, j) == want[b][r][j]);

  // Any strides: the rows as columns.
  const auto turned = heed::chosen_mask<std::uint8_t>(heed::const_view(indices).permute({0, 2, 1}), 5);
  CHECK(turned(0, 1, 2) == 1);
  CHECK(turned(0, 1, 4) == 1);
  CHECK(turned(0, 1, 0) == 0);
  CHECK(turned(1, 0, 3) == 1);

  CHECK(heed::chosen_mask<float>(Tensor<std::int32_t, 2>(3, 0), 2).size() == 6);
  CHECK(heed::chosen_mask<float>(Tensor<std::int32_t, 2>(0, 3), 2).size() == 0);
  CHECK_THROWS_WITH(heed::chosen_mask<float>(indices, 4), "chosen_mask: index 4 is beyond the width 4");
}
