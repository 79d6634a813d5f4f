// SPDX-License-Identifier: Apache-2.0
// Visibility rules inside of the attention: against their definition, composed, with and without runs.
#include <string>

#include "catch.hpp"
#include "support/rules.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

struct Size {
  Index n, m;
};
constexpr Size kSizes[] = {{1, 1},   {1, 70},  {4, 33},  {5, 5},  {5, 200}, {16, 16},
                           {17, 90}, {40, 13}, {70, 70}, {70, 3}, {3, 0},   {100, 260}};

template <class T>
void check_same(const AnyResult<T>& a, const AnyResult<T>& b) {
  CHECK(same_bits(a.out, b.out));
  CHECK(same_bits(a.lse, b.lse));
}

}  // namespace

TEMPLATE_TEST_CASE("Every rule against its definition", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes)
    for (const RuleCase& rule : rule_cases(2, m)) {
      CAPTURE(rule.name, n, m);
      const Inputs<T> x(2, 4, 2, n, m, 5, 6, unsigned(n * 7 + m));
      NaiveAttention naive;
      naive.visible = rule.definition(n, m);
      const auto want = naive(x.q, x.k, x.v);
      for (const bool runs : {true, false}) {
        CAPTURE(runs);
        const auto got = attend_any(std::nullopt, runs ? rule.rule : rule.rule.without_runs(), x.q, x.k, x.v);
        CHECK(error_of(got.out, want.out) < kTolerance<T>);
        CHECK(error_of(got.lse, want.lse) < kTolerance<T>);
      }
    }
}

TEMPLATE_TEST_CASE("Position offsets of every sign", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes)
    for (const Index offset :
         {Index(-1000), -m - 1, -n, -n + 1, Index(-3), Index(0), Index(2), m - n, m - 1, m, Index(1000)}) {
      CAPTURE(n, m, offset);
      const Inputs<T> x(1, 2, 1, n, m, 5, 6, unsigned(n * 7 + m));
      const auto check = [&](const ErasedRule& rule, const heed::SoftmaxOptions& options, auto visible) {
        NaiveAttention naive;
        naive.visible = [visible](Index, Index, Index i, Index j) { return visible(i, j); };
        const auto want = naive(x.q, x.k, x.v);
        const auto got = attend_any(std::nullopt, rule, x.q, x.k, x.v, options);
        CHECK(error_of(got.out, want.out) < kTolerance<T>);
        CHECK(error_of(got.lse, want.lse) < kTolerance<T>);
      };
      const heed::SoftmaxOptions moved{.position_offset = offset};
      check(heed::causal(offset), {}, [=](Index i, Index j) { return j <= i + offset; });
      check(heed::causal(), moved, [=](Index i, Index j) { return j <= i + offset; });
      check(heed::causal(offset), {.position_offset = 3}, [=](Index i, Index j) { return j <= i + offset; });
      check(heed::causal(2), moved, [=](Index i, Index j) { return j <= i + 2; });
      check(heed::window(4, 2), moved, [=](Index i, Index j) { return j >= i + offset - 4 && j <= i + offset + 2; });
      check(heed::causal() && heed::window_left(0), moved, [=](Index i, Index j) { return j == i + offset; });
    }
}

TEMPLATE_TEST_CASE("A window as wide as the keys is none, bit for bit", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    CAPTURE(n, m);
    const Inputs<T> x(1, 2, 1, n, m, 5, 6, 3);
    const auto full = attend_any(std::nullopt, heed::everything(), x.q, x.k, x.v);
    const auto causal = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    for (const Index width : {m + n, m + n + 1, Index(1) << 29}) {
      check_same(attend_any(std::nullopt, heed::window(width, width), x.q, x.k, x.v), full);
      check_same(attend_any(std::nullopt, heed::causal() && heed::window_left(width), x.q, x.k, x.v), causal);
    }
    check_same(attend_any(std::nullopt, heed::sink_tokens(m), x.q, x.k, x.v), full);
    check_same(attend_any(std::nullopt, heed::causal(m), x.q, x.k, x.v), full);
  }
}

TEMPLATE_TEST_CASE("Widths, counts and offsets that no 32-bit number holds", "", float, double) {
  using T = TestType;
  constexpr Index kMost = std::numeric_limits<Index>::max();
  const auto some = heed::visible([](const auto& at) { return at.key() != at.query(); });  // has no runs
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(1, 2, 1, n, m, 5, 6, 3);
    const auto all = attend_any(std::nullopt, some, x.q, x.k, x.v);
    const auto none = attend_any(std::nullopt, !heed::everything(), x.q, x.k, x.v);
    for (const Index huge :
         {(Index(1) << 31) - 1, Index(1) << 31, Index(1) << 32, (Index(1) << 33) - 1, Index(1) << 40, kMost}) {
      CAPTURE(n, m, huge);
      check_same(attend_any(std::nullopt, some && heed::window_left(huge), x.q, x.k, x.v), all);
      check_same(attend_any(std::nullopt, some && heed::window_right(huge), x.q, x.k, x.v), all);
      check_same(attend_any(std::nullopt, some && heed::sink_tokens(huge), x.q, x.k, x.v), all);
      check_same(attend_any(std::nullopt, some && heed::causal(huge), x.q, x.k, x.v), all);
      check_same(attend_any(std::nullopt, some && heed::causal(-huge), x.q, x.k, x.v), none);
      check_same(attend_any(std::nullopt, (some || heed::causal(-huge)) && heed::window(huge, huge), x.q, x.k, x.v),
                 all);
    }
  }
}

TEMPLATE_TEST_CASE("Composition follows the laws of logic, bit for bit", "", float, double) {
  using T = TestType;
  const auto attend = [](const ErasedRule& rule, const Inputs<T>& x) {
    return attend_any(std::nullopt, rule, x.q, x.k, x.v);
  };
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(2, 2, 1, n, m, 5, 6, 5);
    const auto cases = rule_cases(2, m);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const ErasedRule a = cases[i].rule, b = cases[(i * 5 + 3) % cases.size()].rule,
                       c = cases[(i * 3 + 1) % cases.size()].rule;
      CAPTURE(n, m, cases[i].name, cases[(i * 5 + 3) % cases.size()].name);
      check_same(attend(!(a && b), x), attend(!a || !b, x));
      check_same(attend(!(a || b), x), attend(!a && !b, x));
      check_same(attend(heed::when(true, a), x), attend(a, x));
      check_same(attend(heed::when(false, a), x), attend(heed::everything(), x));
      if (cases[i].lengths) continue;  // moves the positions unless negated
      check_same(attend(!!a, x), attend(a, x));
      check_same(attend(a && a, x), attend(a, x));
      check_same(attend(a || a, x), attend(a, x));
      check_same(attend(a && heed::everything(), x), attend(a, x));
      check_same(attend(a || !heed::everything(), x), attend(a, x));
      // Tiles may be cut elsewhere.
      const auto left = attend(a && (b || c), x), right = attend((a && b) || (a && c), x);
      if (!cases[(i * 5 + 3) % cases.size()].lengths && !cases[(i * 3 + 1) % cases.size()].lengths) {
        CHECK(error_of(left.out, right.out) < kTolerance<T>);
        CHECK(error_of(left.lse, right.lse) < kTolerance<T>);
      }
      const auto contradiction = attend(a && !a, x);
      for (Index h = 0; h < 2; ++h)
        for (Index q = 0; q < n; ++q) {
          REQUIRE(contradiction.lse(1, h, q) == -std::numeric_limits<T>::infinity());
          REQUIRE(contradiction.out(1, h, q, 0) == 0);
        }
    }
  }
}

TEMPLATE_TEST_CASE("Rules of compile time", "", float, double) {
  using T = TestType;
  const Inputs<T> x(2, 4, 2, 37, 90, 5, 6, 6);
  const Tensor<std::int32_t, 1> lengths = int_tensor({61, 90});
  const auto rule = (heed::causal() || heed::prefix(lengths)) && !(heed::window_left(3) && !heed::sink_tokens(2));
  NaiveAttention naive;
  naive.visible = [&](Index b, Index, Index i, Index j) {
    const Index p = i + 53;
    return (j <= p || j < lengths(b)) && !(j >= p - 3 && j >= 2);
  };
  const auto want = naive(x.q, x.k, x.v);
  const auto [out, lse] = heed::softmax_attention(rule).with_lse(x.q, x.k, x.v);
  CHECK(error_of(out, want.out) < kTolerance<T>);
  CHECK(error_of(lse, want.lse) < kTolerance<T>);
}

TEMPLATE_TEST_CASE("A lambda is a rule by itself", "", float, double) {
  using T = TestType;
  const Inputs<T> x(2, 4, 2, 37, 90, 5, 6, 6);
  const auto lambda = [](const auto& at) { return at.key() <= at.position(); };
  const auto got = attend_any(std::nullopt, lambda, x.q, x.k, x.v);
  check_same(got, attend_any(std::nullopt, ErasedRule(heed::causal()).without_runs(), x.q, x.k, x.v));
}
