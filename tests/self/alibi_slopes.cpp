// SPDX-License-Identifier: Apache-2.0
#include "heed/self/alibi_slopes.hpp"

#include "catch.hpp"

TEST_CASE("Slopes of a power of two are a geometric series") {
  const auto slopes = heed::alibi_slopes<double>(8);
  for (int h = 0; h < 8; ++h) CHECK(slopes(h) == std::ldexp(1.0, -(h + 1)));
  CHECK(heed::alibi_slopes<float>(1)(0) == 1.F / 256);
}

TEST_CASE("Other numbers of heads take every second slope of twice as many") {
  for (const int heads : {3, 5, 6, 7, 12, 63, 100}) {
    int m = 1;
    while (2 * m <= heads) m *= 2;
    const auto slopes = heed::alibi_slopes<double>(heads);
    const auto base = heed::alibi_slopes<double>(m), twice = heed::alibi_slopes<double>(2 * m);
    REQUIRE(slopes.dimension(0) == heads);
    for (int h = 0; h < m; ++h) CHECK(slopes(h) == base(h));
    for (int t = 0; m + t < heads; ++t) CHECK(slopes(m + t) == twice(2 * t));
    const auto rounded = heed::alibi_slopes<float>(heads);
    for (int h = 0; h < heads; ++h) CHECK(rounded(h) == float(slopes(h)));
  }
}

TEST_CASE("There must be a head") {
  CHECK_THROWS_WITH(heed::alibi_slopes<float>(0),
                    heed::test::contains("alibi_slopes: num_heads must be 1 or more, got 0"));
}
