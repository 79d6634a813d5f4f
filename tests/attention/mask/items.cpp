// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/items.hpp"

#include "catch.hpp"
#include "check_rule.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("items: blocks of all sizes, and the end of the sequence") {
  for (const Index tokens : {2, 17, 64, 131})
    for (const Index length : {1, 3, 4, 16, 130}) {
      if (length >= tokens) continue;
      check_rule(AnyRule(items(length, tokens)), rule_shape(tokens, tokens), [=](Index, Index, Index i, Index j) {
        return i / length == j / length || (i >= tokens - 1 - length && j >= tokens - 1 - length);
      });
    }
}

TEST_CASE("items: errors") {
  CHECK_THROWS_WITH(items(0, 5), "items: needs 1 <= length < tokens, got 0 and 5");
  CHECK_THROWS_WITH(items(2, 5).check(rule_shape(5, 6)), contains("the same tokens"));
}
