// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/segments.hpp"

#include "catch.hpp"
#include "check_rule.hpp"
#include "heed/attention/mask/standard.hpp"

using namespace heed;
using namespace heed::test;

namespace {

// Ids that come in runs, and now and then return.
Tensor<std::int32_t, 2> ids(Index batch, Index length, unsigned seed, Index longest_run) {
  Tensor<std::int32_t, 2> result(batch, length);
  std::mt19937 engine(seed);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < length;) {
      const std::int32_t id = std::int32_t(engine() % 5) * 1000003 - 2000000;
      for (Index end = std::min(length, i + 1 + Index(engine() % unsigned(longest_run))); i < end; ++i)
        result(b, i) = id;
    }
  return result;
}

}  // namespace

TEST_CASE("segments: equal ids see each other") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {63, 130}, {130, 63}, {100, 500}})
    for (const Index run : {1, 20, 200}) {
      const auto q = ids(2, n, unsigned(n), run), k = ids(2, m, unsigned(m), run);
      const AttentionShape shape = rule_shape(n, m);
      const Slack slack = check_rule(AnyRule(segments(q, k)), shape,
                                     [&](Index b, Index, Index i, Index j) { return q(b, i) == k(b, j); });
      CHECK(slack.some_but_none == 0);
      CHECK(slack.some_but_all == 0);
      check_rule(AnyRule(segments(q, k) && causal()), shape,
                 [&, n = n, m = m](Index b, Index, Index i, Index j) { return q(b, i) == k(b, j) && j <= i + m - n; });
    }
}

TEST_CASE("segments: ids beyond what float holds, and strided") {
  const Index n = 40;
  Tensor<std::int32_t, 2> q(n, 2), k(2, n);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < n; ++i) {
      q(i, b) = std::int32_t(16777216 + i / 2);
      k(b, i) = std::int32_t(16777216 + i / 3);
    }
  check_rule(AnyRule(segments(View<const std::int32_t, 2>(q).permute({1, 0}), k)), rule_shape(n, n),
             [](Index, Index, Index i, Index j) { return i / 2 == j / 3; });
}

TEST_CASE("segments that do not fit are named") {
  const AttentionShape shape = rule_shape(5, 7);
  const Tensor<std::int32_t, 2> q(2, 5), k(2, 7), wrong(1, 7);
  CHECK_THROWS_WITH(segments(k, k).check(shape), "segments: q_segment must have shape (B, N) = (2, 5), got (2, 7)");
  CHECK_THROWS_WITH(segments(q, wrong).check(shape),
                    "segments: kv_segment must have shape (B, M) = (2, 7), got (1, 7)");
}
