// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/window_2d.hpp"

#include "catch.hpp"
#include "check_rule.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("window_2d: images and radii of all kinds") {
  using Pairs = std::vector<std::pair<Index, Index>>;
  const Pairs images{{1, 1}, {1, 50}, {50, 1}, {3, 5}, {7, 7}, {9, 17}, {5, 63}, {16, 16}, {3, 100}};
  const Pairs radii{{0, 0}, {1, 1}, {0, 3}, {2, 0}, {1, 7}, {2, 40}, {100, 2}, {100, 100}, {1, 1000000}};
  for (const auto& [height, width] : images)
    for (const auto& [ry, rx] : radii) {
      const Slack slack =
          check_rule(AnyRule(window_2d(height, width, ry, rx)), rule_shape(height * width, height * width),
                     [=, w = width, ry = ry, rx = rx](Index, Index, Index i, Index j) {
                       return std::abs(i / w - j / w) <= ry && std::abs(i % w - j % w) <= rx;
                     });
      CHECK(slack.some_but_none == 0);
      CHECK(slack.some_but_all == 0);
    }
}

TEST_CASE("window_2d composes") {
  const Index w = 20;
  check_rule(AnyRule(window_2d(6, w, 2, 3) && !window_2d(6, w, 0, 0)), rule_shape(6 * w, 6 * w),
             [=](Index, Index, Index i, Index j) {
               return i != j && std::abs(i / w - j / w) <= 2 && std::abs(i % w - j % w) <= 3;
             });
}

TEST_CASE("window_2d: far into a large image") {
  const Index width = 46337, height = 46337;  // a little below 2^31 pixels
  const Window2d rule = window_2d(height, width, 3, 4);
  for (const Index y : {Index(0), Index(30000), height - 1})
    for (const Index x : {Index(0), Index(20), width - 1}) {
      const Index i = y * width + x;
      const QueryTile tile{0, 0, 0, i, i + 1, 0, height * width};
      Index count = 0, rows = 0;
      for (Index key = 0; key < height * width;) {
        const Run run = rule.run(tile, key);
        const Index end = std::min(run.end, height * width);
        REQUIRE(run.seen != Seen::kSome);
        if (run.seen == Seen::kAll) {
          count += end - key;
          ++rows;
          for (const Index j : {key, end - 1}) {
            At<float, Lanes::kKeys> at;
            at.first_query = i;
            at.first_key = j;
            at.count = 1;
            alignas(64) float lanes[simd::kLanes<float>];
            simd::select(rule(at), simd::Batch<float>(1.f), simd::Batch<float>(0.f)).store_aligned(lanes);
            REQUIRE(lanes[0] == 1.f);
          }
        }
        key = end;
      }
      const Index tall = y == 0 || y == height - 1 ? 4 : 7;
      const Index wide = x == 0 || x == width - 1 ? 5 : 9;
      REQUIRE(rows == tall);
      REQUIRE(count == tall * wide);
    }
}

TEST_CASE("window_2d: what does not fit is named") {
  CHECK_THROWS_WITH(window_2d(3, 0, 1, 1),
                    contains("must have at least one column and fewer than 2^31 pixels, got 3 x 0"));
  CHECK_THROWS_WITH(window_2d(-1, 4, 1, 1), contains("got -1 x 4"));
  CHECK_THROWS_WITH(window_2d(65536, 65536, 1, 1), contains("got 65536 x 65536"));
  CHECK_THROWS_WITH(window_2d(3, 4, -1, 1), "window_2d: radii must be 0 or more, got -1 and 1");
  CHECK_THROWS_WITH(window_2d(3, 4, 1, 1).check(rule_shape(12, 13)),
                    "window_2d: N and M must be 3 x 4 pixels, got N = 12 and M = 13");
}
