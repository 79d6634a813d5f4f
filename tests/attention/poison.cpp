// SPDX-License-Identifier: Apache-2.0
// A hidden key or value never changes a result, whatever it holds; a visible one always does.
#include "catch.hpp"
#include "support/rules.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

struct Size {
  Index n, m;
};
// The row kernel, panels with a row that goes through it, more queries than keys, several tiles of keys.
constexpr Size kSizes[] = {{1, 70}, {4, 33}, {17, 90}, {40, 13}, {70, 140}, {130, 230}};

enum class Poison { kNaN, kInfiniteValues, kInfiniteKeys };

template <class T>
void put(Inputs<T>& x, Poison poison, Index b, Index h, Index j) {
  const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  for (Index d = 0; d < x.k.dimension(3); ++d)
    if (poison != Poison::kInfiniteValues)
      x.k(b, h, j, d) = poison == Poison::kNaN ? nan : d % 2 == 0 ? infinity : -infinity;
  for (Index d = 0; d < x.v.dimension(3); ++d)
    if (poison != Poison::kInfiniteKeys)
      x.v(b, h, j, d) = poison == Poison::kNaN ? nan : (d + j) % 2 == 0 ? infinity : -infinity;
}

// Poisons all that one query does not see, for a few queries in turn.
template <class T, class Attend>
void check_hidden(Attend attend, const std::function<bool(Index, Index, Index, Index)>& visible, Index h, Index hk,
                  Index n, Index m, unsigned seed) {
  constexpr Index b = 2;
  const Inputs<T> clean(b, h, hk, n, m, 5, 6, seed);
  const AnyResult<T> want = attend(clean);
  const Index step = std::max<Index>(1, n / 7);
  for (Index i = 0; i < n; i += step)
    for (const Poison poison : {Poison::kNaN, Poison::kInfiniteValues, Poison::kInfiniteKeys}) {
      Inputs<T> x = clean;
      for (Index batch = 0; batch < b; ++batch)
        for (Index kv = 0; kv < hk; ++kv)
          for (Index j = 0; j < m; ++j) {
            bool seen = false;
            for (Index head = kv * h / hk; head < (kv + 1) * h / hk; ++head) seen |= visible(batch, head, i, j);
            if (!seen) put(x, poison, batch, kv, j);
          }
      const AnyResult<T> got = attend(x);
      for (Index batch = 0; batch < b; ++batch)
        for (Index head = 0; head < h; ++head) {
          CAPTURE(n, m, batch, head, i, int(poison), got.lse(batch, head, i), want.lse(batch, head, i));
          CHECK(same_row(got, want, batch, head, i));
        }
    }
}

}  // namespace

TEMPLATE_TEST_CASE("What a rule hides may hold anything", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes)
    for (const RuleCase& rule : rule_cases(2, m))
      for (const bool runs : {true, false}) {
        CAPTURE(rule.name, runs);
        const ErasedRule erased = runs ? rule.rule : rule.rule.without_runs();
        check_hidden<T>([&](const Inputs<T>& x) { return attend_any(std::nullopt, erased, x.q, x.k, x.v); },
                        rule.definition(n, m), 4, 2, n, m, unsigned(n + m));
      }
}

TEMPLATE_TEST_CASE("What a rule hides under a score may hold anything", "", float, double) {
  using T = TestType;
  const ErasedScore capped = heed::softcap(5) | heed::scale_by(2);
  for (const auto [n, m] : kSizes)
    for (const RuleCase& rule : rule_cases(2, m)) {
      CAPTURE(rule.name);
      check_hidden<T>([&](const Inputs<T>& x) { return attend_any(capped, rule.rule, x.q, x.k, x.v); },
                      rule.definition(n, m), 2, 1, n, m, unsigned(n + m));
    }
}

TEMPLATE_TEST_CASE("What a bias of -infinity hides may hold anything", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    Tensor<T, 4> bias = random_tensor<T, 4>({2, 4, n, m}, 3);
    const auto seen = random_mask<4>({2, 1, n, m}, 4, 0.6);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 4; ++h)
        for (Index i = 0; i < n; ++i)
          for (Index j = 0; j < m; ++j)
            if (!seen(b, 0, i, j)) bias(b, h, i, j) = -std::numeric_limits<T>::infinity();
    check_hidden<T>(
        [&](const Inputs<T>& x) {
          return attend_any(ErasedScore(heed::bias(bias)), heed::everything(), x.q, x.k, x.v);
        },
        [&](Index b, Index, Index i, Index j) { return seen(b, 0, i, j) != 0; }, 4, 2, n, m, 5);
    check_hidden<T>(
        [&](const Inputs<T>& x) {
          return attend_any(ErasedScore(heed::softcap(4) | heed::bias(bias)), heed::causal(), x.q, x.k, x.v);
        },
        [&, n = n, m = m](Index b, Index, Index i, Index j) { return seen(b, 0, i, j) != 0 && j <= i + m - n; }, 4, 2,
        n, m, 6);
  }
}

TEMPLATE_TEST_CASE("What a user's score of -infinity hides may hold anything", "", float, double) {
  using T = TestType;
  const auto odd_only = [](auto s, const auto& at) {
    using S = decltype(s);
    using U = typename S::value_type;
    const S half = heed::simd::to_real<U>(at.key()) * S(U(0.5));
    return heed::simd::select(half == xsimd::floor(half), S(-std::numeric_limits<U>::infinity()), s);
  };
  for (const auto [n, m] : kSizes)
    check_hidden<T>(
        [&](const Inputs<T>& x) { return attend_any(ErasedScore(odd_only), heed::causal(), x.q, x.k, x.v); },
        [n = n, m = m](Index, Index, Index i, Index j) { return j % 2 == 1 && j <= i + m - n; }, 2, 1, n, m, 7);
}

TEMPLATE_TEST_CASE("NaN in a bias shows only where it is seen", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(1, 2, 1, n, m, 5, 6, 8);
    Tensor<T, 4> bias = random_tensor<T, 4>({1, 2, n, m}, 9);
    const auto want = attend_any(ErasedScore(heed::bias(bias)), heed::causal(), x.q, x.k, x.v);
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < n; ++i)
        for (Index j = std::max<Index>(0, i + m - n + 1); j < m; ++j) bias(0, h, i, j) = T(kNaN);
    const auto got = attend_any(ErasedScore(heed::bias(bias)), heed::causal(), x.q, x.k, x.v);
    CHECK(same_bits(got.out, want.out));
    CHECK(same_bits(got.lse, want.lse));
    if (m < n) continue;
    bias(0, 1, n / 2, m / 3) = T(kNaN);
    const auto seen = attend_any(ErasedScore(heed::bias(bias)), heed::everything() && heed::causal(), x.q, x.k, x.v);
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < n; ++i) {
        if (h == 1 && i == n / 2) {
          CHECK(std::isnan(seen.lse(0, h, i)));
          for (Index d = 0; d < 6; ++d) CHECK(std::isnan(seen.out(0, h, i, d)));
        } else {
          CHECK(same_row(seen, want, 0, h, i));
        }
      }
  }
}

TEMPLATE_TEST_CASE("What is visible is never left out", "", float, double) {
  using T = TestType;
  const T infinity = std::numeric_limits<T>::infinity();
  for (const auto [n, m] : kSizes)
    for (const RuleCase& rule : rule_cases(2, m)) {
      CAPTURE(rule.name, n, m);
      const auto visible = rule.definition(n, m);
      const Inputs<T> clean(2, 4, 2, n, m, 5, 6, 10);
      const auto want = attend_any(std::nullopt, rule.rule, clean.q, clean.k, clean.v);
      for (const Index j : {Index(0), m / 2, m - 1}) {
        Inputs<T> value = clean, key = clean, huge = clean;
        value.v(1, 1, j, 4) = T(kNaN);
        huge.v(1, 1, j, 2) = infinity;
        key.k(1, 1, j, 3) = T(kNaN);
        const auto by_value = attend_any(std::nullopt, rule.rule, value.q, value.k, value.v);
        const auto by_huge = attend_any(std::nullopt, rule.rule, huge.q, huge.k, huge.v);
        const auto by_key = attend_any(std::nullopt, rule.rule, key.q, key.k, key.v);
        int wrong = 0;
        for (Index h = 0; h < 4; ++h)
          for (Index i = 0; i < n; ++i) {
            if (h < 2 || !visible(1, h, i, j)) {
              wrong += !same_row(by_value, want, 1, h, i) + !same_row(by_key, want, 1, h, i) +
                       !same_row(by_huge, want, 1, h, i);
              continue;
            }
            for (Index d = 0; d < 6; ++d) {
              wrong += std::isnan(by_value.out(1, h, i, d)) != (d == 4);
              wrong += std::isfinite(by_huge.out(1, h, i, d)) != (d != 2);
              wrong += !std::isnan(by_key.out(1, h, i, d));
            }
            wrong += !std::isnan(by_key.lse(1, h, i));
            wrong += by_value.lse(1, h, i) != want.lse(1, h, i);
          }
        CAPTURE(j);
        CHECK(wrong == 0);
      }
    }
}

TEMPLATE_TEST_CASE("Poison in a query stays in its row", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    Inputs<T> x(1, 4, 2, n, m, 5, 6, 11);
    const auto want = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    x.q(0, 2, n / 2, 1) = T(kNaN);
    const auto got = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    for (Index h = 0; h < 4; ++h)
      for (Index i = 0; i < n; ++i) {
        if (h == 2 && i == n / 2 && i + m - n >= 0) {
          CHECK(std::isnan(got.out(0, h, i, 0)));
          CHECK(std::isnan(got.lse(0, h, i)));
        } else {
          CHECK(same_row(got, want, 0, h, i));
        }
      }
  }
}

TEMPLATE_TEST_CASE("Poison under rules and scores of compile time", "", float, double) {
  using T = TestType;
  const auto rule = heed::causal() && heed::window_left(25);
  for (const auto [n, m] : kSizes) {
    const auto visible = [n = n, m = m](Index, Index, Index i, Index j) {
      return j <= i + m - n && j >= i + m - n - 25;
    };
    const auto run = [](const auto& attend, const Inputs<T>& x) {
      AnyResult<T> result;
      std::tie(result.out, result.lse) = attend.with_lse(x.q, x.k, x.v);
      return result;
    };
    check_hidden<T>([&](const Inputs<T>& x) { return run(heed::softmax_attention(rule), x); }, visible, 2, 1, n, m, 12);
    check_hidden<T>([&](const Inputs<T>& x) { return run(heed::softmax_attention(heed::softcap(3), rule), x); },
                    visible, 2, 1, n, m, 13);
  }
}
