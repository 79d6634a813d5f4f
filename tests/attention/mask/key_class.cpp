// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/key_class.hpp"

#include "catch.hpp"
#include "check_rule.hpp"
#include "heed/attention/mask/standard.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("key_class: the keys of one class") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {63, 130}, {130, 63}, {100, 500}})
    for (const Index run : {1, 20, 300}) {
      Tensor<std::int32_t, 2> classes(2, m);
      for (Index b = 0; b < 2; ++b)
        for (Index j = 0; j < m; ++j) classes(b, j) = std::int32_t((j / run + b) % 3);
      const AttentionShape shape = rule_shape(n, m);
      const Slack slack = check_rule(AnyRule(key_class(classes, 1)), shape,
                                     [&](Index b, Index, Index, Index j) { return classes(b, j) == 1; });
      CHECK(slack.some_but_none == 0);
      CHECK(slack.some_but_all == 0);
      check_rule(AnyRule(key_class(classes, 2) && causal()), shape,
                 [&, n = n, m = m](Index b, Index, Index i, Index j) { return classes(b, j) == 2 && j <= i + m - n; });
    }
}

TEST_CASE("key_class: one class for each key") {
  const Tensor<std::int32_t, 2> classes(2, 4);
  CHECK_THROWS_WITH(key_class(classes, 0).check(rule_shape(3, 5)),
                    "key_class: classes must have shape (B, M) = (2, 5), got (2, 4)");
}
