// SPDX-License-Identifier: Apache-2.0
#include "heed/block/heads.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("split_heads and split_map_heads are views of the channels") {
  const auto x = random_tensor<float, 3>({2, 5, 6}, 1);
  const auto heads = heed::split_heads(x, 3);
  REQUIRE(heads.sizes == std::array<Index, 4>{2, 3, 5, 2});
  const auto map = random_tensor<float, 4>({2, 6, 3, 7}, 2);
  const auto of_map = heed::split_map_heads(map, 2);
  REQUIRE(of_map.sizes == std::array<Index, 4>{2, 2, 21, 3});
  for (Index c = 0; c < 6; ++c) {
    CHECK(&heads(1, c / 2, 4, c % 2) == &x(1, 4, c));
    CHECK(&of_map(1, c / 3, 9, c % 3) == &map(1, c, 1, 2));
  }
  CHECK_THROWS_WITH(heed::split_heads(x, 4),
                    "split_heads: the channels of a tensor of shape (2, 5, 6) must be a multiple of the heads, 4");
  CHECK_THROWS_AS(heed::split_heads(x, 0), heed::Error);
  CHECK_THROWS_AS(heed::split_heads(Tensor<float, 3>(2, 5, 0), 1), heed::Error);
  CHECK_THROWS_AS(heed::split_map_heads(heed::const_view(map).permute({0, 1, 3, 2}), 2), heed::Error);
}
