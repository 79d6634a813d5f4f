// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/opened_spans.hpp"

#include "catch.hpp"
#include "check_rule.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("opened_spans: a rectangle of any place, alone and beside causal()") {
  const Index tokens = 131;
  const AttentionShape shape = rule_shape(tokens, tokens);
  Tensor<std::int32_t, 2> spans(shape.batch, 3);
  for (const auto& [a, b, c] : {std::array<int, 3>{0, 0, 0}, {3, 20, 20}, {1, 64, 130}, {33, 34, 131}}) {
    for (Index x = 0; x < shape.batch; ++x) {
      spans(x, 0) = a;
      spans(x, 1) = b;
      spans(x, 2) = c;
    }
    const auto opened = [a = a, b = b, c = c](Index i, Index j) { return a <= i && i < b && b <= j && j < c; };
    const Slack slack =
        check_rule(AnyRule(opened_spans(spans)), shape, [=](Index, Index, Index i, Index j) { return opened(i, j); });
    CHECK(slack.some_but_none == 0);
    check_rule(AnyRule(causal() || opened_spans(spans)), shape,
               [=](Index, Index, Index i, Index j) { return j <= i || opened(i, j); });
  }
  const Tensor<std::int32_t, 2> other(shape.batch + 1, 3);
  CHECK_THROWS_WITH(opened_spans(other).check(shape), contains("spans"));
}
