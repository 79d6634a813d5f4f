// SPDX-License-Identifier: Apache-2.0
#include "heed/self/relative_position_bias.hpp"

#include "catch.hpp"

using heed::Index;
using heed::RelativePositionBias;
using heed::Tensor;
using heed::test::contains;

TEST_CASE("The bias is the table's value of every pair's bucket") {
  for (const Index n : {1, 3, 17, 63})
    for (const Index m : {1, 17, 200})
      for (const Index offset : {0, 5, -40, 1000}) {
        RelativePositionBias<double> relative{{.bidirectional = n % 2 == 0, .num_buckets = 8, .max_distance = 16}, {}};
        relative.table.resize(8, 3);
        relative.table.setRandom();
        const auto bias = relative(n, m, offset);
        const auto buckets = relative.buckets(n, m, offset);
        const heed::RelativeBuckets bucket(relative.options, "test");
        REQUIRE(bias.dimensions() == Eigen::DSizes<Index, 3>(3, n, m));
        REQUIRE(buckets.dimensions() == Eigen::DSizes<Index, 2>(n, m));
        bool right = true;
        for (Index i = 0; i < n; ++i)
          for (Index j = 0; j < m; ++j) {
            right &= buckets(i, j) == bucket(j - i - offset);
            for (Index h = 0; h < 3; ++h) right &= bias(h, i, j) == relative.table(buckets(i, j), h);
          }
        CHECK(right);
      }
}

TEST_CASE("The table is its parameter") {
  RelativePositionBias<float> relative;
  relative.table.resize(32, 4);
  std::string names;
  heed::for_each_parameter(relative, [&](std::string_view name, auto&) { names += name; });
  CHECK(names == "table");
  CHECK(heed::count_parameters(relative) == 128);
}

TEST_CASE("No queries and no keys give an empty bias, and what does not fit is named") {
  RelativePositionBias<float> relative;
  relative.table.resize(32, 4);
  CHECK(relative(0, 5).size() == 0);
  CHECK(relative(5, 0).dimension(1) == 5);
  CHECK(relative.buckets(0, 0).size() == 0);
  CHECK_THROWS_WITH(relative(-1, 5), contains("relative_position_bias: N and M must be 0 or more, got -1 and 5"));
  relative.options.num_buckets = 16;
  CHECK_THROWS_WITH(relative(3, 5), contains("relative_position_bias: table must have shape (num_buckets, H) with 16 "
                                             "buckets, got (32, 4)"));
  relative.options.max_distance = 3;
  CHECK_THROWS_WITH(relative.buckets(3, 5), contains("relative_position_bias: max_distance must be more than 4"));
}
