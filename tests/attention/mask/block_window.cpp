// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/block_window.hpp"

#include "catch.hpp"
#include "check_rule.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("block_window: blocks and reaches of all kinds") {
  for (const Index tokens : {1, 17, 64, 131})
    for (const Index size : {1, 3, 16, 200})
      for (const auto& [back, forward] : {std::pair<Index, Index>(0, 0), {1, 0}, {0, 2}, {3, 1}, {1000000, 0}}) {
        const Slack slack = check_rule(AnyRule(block_window(size, back, forward)), rule_shape(tokens, tokens),
                                       [=, b = back, f = forward](Index, Index, Index i, Index j) {
                                         return i / size - b <= j / size && j / size <= i / size + f;
                                       });
        CHECK(slack.some_but_none == 0);
      }
}

TEST_CASE("block_window: errors") {
  CHECK_THROWS_WITH(block_window(0, 1, 1), "block_window: the size must be in 1 .. 2^30 - 1, got 0");
  CHECK_THROWS_WITH(block_window(4, -1, 1), "block_window: back and forward must be 0 or more, got -1 and 1");
}
