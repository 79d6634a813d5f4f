// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/score/relative_buckets.hpp"

#include "catch.hpp"

using heed::Index;
using heed::RelativeBuckets;
using heed::test::contains;

namespace {

// t is reached when max_distance^t e^(n-e) <= distance^(n-e) e^t, in 128-bit integers.
Index reference(Index delta, bool bidirectional, Index num_buckets, Index max_distance) {
  __extension__ using Wide = unsigned __int128;
  const Index n = bidirectional ? num_buckets / 2 : num_buckets, e = n / 2;
  const Index start = bidirectional && delta > 0 ? n : 0;
  const Index distance = bidirectional ? std::abs(delta) : std::max<Index>(-delta, 0);
  if (distance < e) return start + distance;
  const auto power = [](Index base, Index exponent) {
    Wide result = 1;
    for (Index i = 0; i < exponent; ++i) result *= Wide(base);
    return result;
  };
  Index t = 0;
  while (t + 1 < n - e && power(max_distance, t + 1) * power(e, n - e - (t + 1)) <= power(distance, n - e)) ++t;
  return start + std::min(n - 1, e + t);
}

}  // namespace

TEST_CASE("Buckets are exact, at whole powers too") {
  for (const bool bidirectional : {true, false})
    for (const Index num_buckets : {4, 7, 8, 16, 32})
      for (const Index max_distance : {16, 17, 20, 64, 128, 1000}) {
        const Index n = bidirectional ? num_buckets / 2 : num_buckets, e = n / 2;
        if (max_distance <= e || n - e > 8) continue;  // 8 times 14 bits are what the reference has room for
        const RelativeBuckets buckets({bidirectional, num_buckets, max_distance}, "here");
        for (Index delta = -1200; delta <= 1200; ++delta)
          REQUIRE(buckets(delta) == reference(delta, bidirectional, num_buckets, max_distance));
        CHECK(buckets(buckets.farthest()) == buckets(1000000));
        CHECK(buckets(-buckets.farthest()) == buckets(-1000000));
      }
}

TEST_CASE("The authors' setting has its edges where powers of two are") {
  const RelativeBuckets buckets({}, "here");  // 16 per direction, 8 exact, 8 -> 128 by factors of sqrt 2
  CHECK(buckets(0) == 0);
  CHECK(buckets(-7) == 7);
  CHECK(buckets(-8) == 8);
  CHECK(buckets(-11) == 8);
  CHECK(buckets(-12) == 9);  // 8 sqrt 2 = 11.3
  CHECK(buckets(-15) == 9);
  CHECK(buckets(-16) == 10);
  CHECK(buckets(-63) == 13);
  CHECK(buckets(-64) == 14);
  CHECK(buckets(-90) == 14);
  CHECK(buckets(-91) == 15);
  CHECK(buckets(-100000) == 15);
  CHECK(buckets(1) == 17);
  CHECK(buckets(128) == 31);
}

TEST_CASE("Very many buckets and very far distances stay exact and monotonic") {
  const RelativeBuckets buckets({false, 512, (Index(1) << 31) - 1}, "here");
  Index last = 0;
  for (Index distance = 1; distance < Index(1) << 32; distance += 1 + distance / 50) {
    REQUIRE(buckets(-distance) >= last);
    last = buckets(-distance);
  }
  CHECK(last == 511);
  // e = 256, so that max_distance = 256 * 4^256 would be needed for a step of 4; with 2^24 every 16 steps double.
  const RelativeBuckets even({false, 512, Index(1) << 24}, "here");
  for (Index k = 9; k < 24; ++k) CHECK(even(-(Index(1) << k)) == even(-(Index(1) << k) + 1) + 1);
  for (Index k = 9; k < 24; ++k) CHECK(even(-(Index(1) << k)) == 256 + 16 * (k - 8));
}

TEST_CASE("The fewest buckets") {
  const RelativeBuckets one({false, 1, 1}, "here");
  CHECK(one(-5) == 0);
  CHECK(one(5) == 0);
  const RelativeBuckets two({true, 2, 1}, "here");
  CHECK(two(0) == 0);
  CHECK(two(-9) == 0);
  CHECK(two(1) == 1);
  const RelativeBuckets odd({true, 5, 2}, "here");  // 2 per direction; bucket 4 is never used
  CHECK(odd(-1) == 1);
  CHECK(odd(2) == 3);
}

TEST_CASE("Options out of range are named") {
  CHECK_THROWS_WITH(RelativeBuckets({true, 1, 128}, "here"), contains("here: num_buckets must be 1 or more, 2 or more "
                                                                      "when bidirectional, got 1"));
  CHECK_THROWS_WITH(RelativeBuckets({false, 0, 128}, "here"), contains("got 0"));
  CHECK_THROWS_WITH(
      RelativeBuckets({true, 32, 8}, "here"),
      contains("here: max_distance must be more than 8, the distances with a bucket of their own, got 8"));
  CHECK_THROWS_WITH(RelativeBuckets({true, 32, Index(1) << 31}, "here"), contains("max_distance must be below 2^31"));
}
