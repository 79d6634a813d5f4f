// SPDX-License-Identifier: Apache-2.0
#include "check_rule.hpp"

#include <sstream>

#include "catch.hpp"
#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::test {

namespace {

// A causal rule with one answer to every question about runs.
struct Wrong : VisibilityRuleBase {
  Run answer;
  template <class A>
  auto operator()(const A& at) const {
    return at.key() <= at.position();
  }
  Run run(const QueryTile&, Index) const { return answer; }
};

std::string pair_text(Index b, Index h, Index i, Index j) {
  std::ostringstream text;
  text << "batch " << b << ", head " << h << ", query " << i << ", key " << j;
  return text.str();
}

Tensor<std::uint8_t, 4> written_out(const AttentionShape& s, const Visible& visible) {
  Tensor<std::uint8_t, 4> mask(s.batch, s.heads, s.queries, s.keys);
  for (Index b = 0; b < s.batch; ++b)
    for (Index h = 0; h < s.heads; ++h)
      for (Index i = 0; i < s.queries; ++i)
        for (Index j = 0; j < s.keys; ++j) mask(b, h, i, j) = visible(b, h, i, j);
  return mask;
}

std::string find_wrong_pair(const Tensor<std::uint8_t, 4>& got, const Tensor<std::uint8_t, 4>& want) {
  const Index keys = want.dimension(3), queries = want.dimension(2), heads = want.dimension(1);
  for (Index x = 0; x < want.size(); ++x)
    if (got.data()[x] != want.data()[x])
      return pair_text(x / keys / queries / heads, x / keys / queries % heads, x / keys % queries, x % keys);
  return {};
}

template <class T>
void check_attention(const AnyRule& rule, const AttentionShape& s, const Tensor<std::uint8_t, 4>& visible,
                     std::optional<Index> offset) {
  const auto q = random_tensor<T, 4>({s.batch, s.heads, s.queries, s.width}, 1);
  auto k = random_tensor<T, 4>({s.batch, s.kv_heads, s.keys, s.width}, 2);
  auto v = random_tensor<T, 4>({s.batch, s.kv_heads, s.keys, s.value_width}, 3);
  // Keys that nobody sees, and a few that some do: rows that see those are not compared.
  const Index group = s.heads / s.kv_heads;
  poison<T>(k, v, [&](Index b, Index hk, Index j) {
    if (j % 29 == 11) return true;
    for (Index h = hk * group; h < (hk + 1) * group; ++h)
      for (Index i = 0; i < s.queries; ++i)
        if (visible(b, h, i, j)) return false;
    return true;
  });
  auto want = NaiveAttention().seeing(visible)(q, k, v);
  forgive(want);
  Tensor<T, 4> out(s.batch, s.heads, s.queries, s.value_width);
  Tensor<T, 3> lse(s.batch, s.heads, s.queries);
  out.setConstant(T(kNaN));
  lse.setConstant(T(kNaN));
  softmax_attention(rule, {.position_offset = offset})(q, k, v, into(out, lse));
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-14;
  REQUIRE(error_of(out, want.out) < tolerance);
  REQUIRE(error_of(lse, want.lse) < tolerance);
}

}  // namespace

std::string find_wrong_run(const AnyRule& rule, const AttentionShape& s, const Tensor<std::uint8_t, 4>& visible,
                           std::optional<Index> offset, Slack& slack) {
  for (Index b = 0; b < s.batch; ++b) {
    const Index keys = std::min(s.keys, rule.key_count(b, s.keys));
    const auto length = static_cast<std::size_t>(keys);
    std::vector<Index> seeing(length), seen_before(length + 1), hidden_before(length + 1);
    const auto between = [](const std::vector<Index>& sums, Index from, Index to) {
      return sums[std::size_t(to)] - sums[std::size_t(from)];
    };
    for (Index h = 0; h < s.heads; ++h)
      for (const Index size : {1, 2, 5, 8, 16, 48, 64})
        for (Index first = 0; first < s.queries; first += size) {
          const QueryTile tile{b,
                               h,
                               h * s.kv_heads / s.heads,
                               first,
                               std::min(s.queries, first + size),
                               offset ? *offset : keys - s.queries,
                               s.keys};
          const Index queries = tile.last - tile.first;
          std::fill(seeing.begin(), seeing.end(), Index(0));
          for (Index i = tile.first; i < tile.last; ++i) {
            const std::uint8_t* const row = visible.data() + ((b * s.heads + h) * s.queries + i) * s.keys;
            Index* const sees = seeing.data();  // a pointer: half the time where nothing is inlined
            for (Index j = 0; j < keys; ++j) sees[j] += row[j];
          }
          for (std::size_t j = 0; j < seeing.size(); ++j) {
            seen_before[j + 1] = seen_before[j] + (seeing[j] != 0);
            hidden_before[j + 1] = hidden_before[j] + (seeing[j] != queries);
          }
          Index walked = 0;
          for (Index key = 0; key < keys; ++key) {
            const Run run = rule.run(tile, key);
            if (run.end <= key) return "a run that ends where it began: " + pair_text(b, h, first, key);
            const Index end = std::min(run.end, keys);
            if ((run.seen == Seen::kNone && between(seen_before, key, end) > 0) ||
                (run.seen == Seen::kAll && between(hidden_before, key, end) > 0))
              return "a wrong run, tile of " + std::to_string(queries) + ": " + pair_text(b, h, first, key);
            // As the kernel walks: each key once.
            if (key != walked) continue;
            if (run.seen == Seen::kSome && size >= 16) {
              slack.some_but_none += end - key - between(seen_before, key, end);
              slack.some_but_all += end - key - between(hidden_before, key, end);
            }
            walked = end;
          }
        }
  }
  return {};
}

Slack check_rule(const AnyRule& rule, const AttentionShape& shape, const Visible& visible,
                 std::optional<Index> offset) {
  INFO("N = " << shape.queries << ", M = " << shape.keys);
  rule.check(shape);
  const auto want = written_out(shape, visible);
  REQUIRE(find_wrong_pair(dense_test<float, Lanes::kQueries>(rule, shape, offset), want) == "");
  REQUIRE(find_wrong_pair(dense_test<float, Lanes::kKeys>(rule, shape, offset), want) == "");
  REQUIRE(find_wrong_pair(dense_test<double, Lanes::kQueries>(rule, shape, offset), want) == "");
  REQUIRE(find_wrong_pair(dense_test<double, Lanes::kKeys>(rule, shape, offset), want) == "");
  REQUIRE(find_wrong_pair(dense_mask(rule, shape, offset), want) == "");
  Slack slack;
  REQUIRE(find_wrong_run(rule, shape, want, offset, slack) == "");
  check_attention<float>(rule, shape, want, offset);
  check_attention<double>(rule, shape, want, offset);
  return slack;
}

TEST_CASE("the check of rules catches a wrong run and a wrong test") {
  const AttentionShape shape = rule_shape(17, 17);
  const auto causal_by_definition = written_out(shape, [](Index, Index, Index i, Index j) { return j <= i; });
  Slack slack;
  const auto verdict = [&](Seen seen, Index end) {
    Wrong rule;
    rule.answer = {seen, end};
    return find_wrong_run(AnyRule(rule), shape, causal_by_definition, std::nullopt, slack);
  };
  CHECK(verdict(Seen::kSome, kEndless) == "");
  CHECK(slack.some_but_none > 0);
  CHECK_THAT(verdict(Seen::kSome, 0), contains("ends where it began"));
  CHECK_THAT(verdict(Seen::kNone, kEndless), contains("a wrong run"));
  CHECK_THAT(verdict(Seen::kAll, kEndless), contains("a wrong run"));
  CHECK(find_wrong_pair(dense_test<float, Lanes::kKeys>(causal(), shape), causal_by_definition) == "");
  CHECK(find_wrong_pair(dense_test<float, Lanes::kKeys>(causal(1), shape), causal_by_definition) ==
        "batch 0, head 0, query 0, key 1");
}

TEST_CASE("the standard rules and their compositions") {
  Tensor<std::int32_t, 1> lengths(2);
  lengths.setValues({5, 11});
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {17, 17}, {63, 100}, {100, 63}, {3, 130}, {64, 64}}) {
    const AttentionShape shape = rule_shape(n, m);
    const Index p = m - n;
    check_rule(AnyRule(everything()), shape, [](Index, Index, Index, Index) { return true; });
    check_rule(AnyRule(causal()), shape, [=](Index, Index, Index i, Index j) { return j <= i + p; });
    check_rule(AnyRule(causal(2)), shape, [](Index, Index, Index i, Index j) { return j <= i + 2; });
    check_rule(
        AnyRule(causal()), shape, [](Index, Index, Index i, Index j) { return j <= i - 3; }, -3);
    check_rule(AnyRule(window(4, 20)), shape,
               [=](Index, Index, Index i, Index j) { return i + p - 4 <= j && j <= i + p + 20; });
    check_rule(AnyRule(causal() && (window_left(9) || sink_tokens(3))), shape,
               [=](Index, Index, Index i, Index j) { return j <= i + p && (j >= i + p - 9 || j < 3); });
    check_rule(AnyRule(causal() || prefix(lengths)), shape,
               [&](Index b, Index, Index i, Index j) { return j <= i + p || j < lengths(b); });
    check_rule(AnyRule(!causal()), shape, [=](Index, Index, Index i, Index j) { return j > i + p; });
    check_rule(AnyRule(!(window_left(3) && !sink_tokens(2))), shape,
               [=](Index, Index, Index i, Index j) { return j < i + p - 3 || j < 2; });
    check_rule(AnyRule(when(false, causal()) && when(true, sink_tokens(20))), shape,
               [](Index, Index, Index, Index j) { return j < 20; });
    check_rule(AnyRule(visible([](const auto& at) { return at.key() <= at.position(); }) && window_left(7)), shape,
               [=](Index, Index, Index i, Index j) { return j <= i + p && j >= i + p - 7; });
    if (m < 11) continue;
    check_rule(AnyRule(key_lengths(lengths) && causal()), shape,
               [&, n = n](Index b, Index, Index i, Index j) { return j < lengths(b) && j <= i + lengths(b) - n; });
  }
}

}  // namespace heed::test
