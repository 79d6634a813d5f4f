// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/key_range.hpp"

#include "catch.hpp"
#include "check_rule.hpp"
#include "heed/attention/mask/standard.hpp"

using namespace heed;
using namespace heed::test;

namespace {

struct Bounds {
  Tensor<std::int32_t, 2> first, last;
};

// Intervals that move along with the queries, `step` of which share one; some are empty, some beyond the keys.
Bounds bounds(Index batch, Index queries, Index keys, Index step, unsigned seed) {
  Bounds result{Tensor<std::int32_t, 2>(batch, queries), Tensor<std::int32_t, 2>(batch, queries)};
  std::mt19937 engine(seed);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < queries; ++i) {
      if (i % step != 0) {
        result.first(b, i) = result.first(b, i - 1);
        result.last(b, i) = result.last(b, i - 1);
        continue;
      }
      const Index begin = Index(engine() % unsigned(keys + 2));
      result.first(b, i) = std::int32_t(begin);
      result.last(b, i) = std::int32_t(begin + Index(engine() % unsigned(keys)) - keys / 8);
    }
  return result;
}

}  // namespace

TEST_CASE("key_range: each query sees its interval") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {63, 130}, {130, 63}, {100, 500}})
    for (const Index step : {1, 20, 200}) {
      const Bounds x = bounds(2, n, m, step, unsigned(n + step));
      const AttentionShape shape = rule_shape(n, m);
      const auto seen = [&](Index b, Index, Index i, Index j) { return j >= x.first(b, i) && j < x.last(b, i); };
      const Slack slack = check_rule(AnyRule(key_range(x.first, x.last)), shape, seen);
      if (step == 200) CHECK(slack.some_but_all == 0);
      check_rule(AnyRule(causal() || key_range(x.first, x.last)), shape,
                 [&, n = n, m = m](Index b, Index h, Index i, Index j) { return j <= i + m - n || seen(b, h, i, j); });
    }
}

TEST_CASE("key_range: bounds are those of all queries") {
  const Tensor<std::int32_t, 2> first(2, 3), last(2, 4);
  CHECK_THROWS_WITH(key_range(first, last).check(rule_shape(3, 5)),
                    "key_range: first and last must have shape (B, N) = (2, 3), got (2, 3) and (2, 4)");
}
