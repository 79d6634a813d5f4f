// SPDX-License-Identifier: Apache-2.0
// Few queries over many keys: rows that share a pass over the keys, and ranges of keys that are merged.
#include "catch.hpp"
#include "support/rules.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

template <class T>
void check(const Inputs<T>& x, const ErasedRule& rule, const std::function<bool(Index, Index, Index, Index)>& visible,
           double tolerance = 4) {
  NaiveAttention naive;
  naive.visible = visible;
  const auto want = naive(x.q, x.k, x.v);
  const auto got = attend_any(std::nullopt, rule, x.q, x.k, x.v);
  CHECK(error_of(got.out, want.out) < tolerance * kTolerance<T>);
  CHECK(error_of(got.lse, want.lse) < tolerance * kTolerance<T>);
}

}  // namespace

TEMPLATE_TEST_CASE("Groups of every size, few queries of every number", "", float, double) {
  using T = TestType;
  for (Index group = 1; group <= 19; ++group)
    for (Index n = 1; n <= 6; ++n) {
      CAPTURE(group, n);
      check(Inputs<T>(2, 2 * group, 2, n, 37, 9, 10, unsigned(group)), heed::causal(),
            [n](Index, Index, Index i, Index j) { return j <= i + 37 - n; });
    }
}

TEMPLATE_TEST_CASE("A head has the same bits in a group of any size", "", float, double) {
  using T = TestType;
  constexpr Index heads = 19, m = 300, width = 21;
  Inputs<T> x(1, heads, 1, 1, m, width, 70, 3);
  // Scores that grow along the keys, for each head from another key on: the sums are scaled anew time and again.
  for (Index j = 0; j < m; ++j)
    for (Index d = 0; d < width; ++d) x.k(0, 0, j, d) *= T(1) + T(j) / T(10);
  const auto together = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
  for (Index h = 0; h < heads; ++h) {
    Tensor<T, 4> q(1, 1, 1, width);
    for (Index d = 0; d < width; ++d) q(0, 0, 0, d) = x.q(0, h, 0, d);
    const auto alone = attend_any(std::nullopt, heed::causal(), q, x.k, x.v);
    CHECK(alone.lse(0, 0, 0) == together.lse(0, h, 0));
    for (Index d = 0; d < 70; ++d) CHECK(alone.out(0, 0, 0, d) == together.out(0, h, 0, d));
  }
  NaiveAttention naive;
  const auto want = naive(x.q, x.k, x.v);
  CHECK(error_of(together.out, want.out) < 10 * kTolerance<T>);
}

TEMPLATE_TEST_CASE("Ranges of keys", "", float, double) {
  using T = TestType;
  for (const Index m : {1023, 1024, 1025, 2047, 2049, 3500})
    for (const Index n : {1, 2, 5}) {
      CAPTURE(m, n);
      const Inputs<T> x(2, 3, 1, n, m, 9, 10, unsigned(m));
      check(x, heed::everything(), nullptr);
      check(x, heed::causal(m / 2), [m](Index, Index, Index i, Index j) { return j <= i + m / 2; });
      // Visible keys in one range, at the seam of two, in the last, in none.
      for (const Index from : {Index(3), Index(1000), Index(1023), Index(1024), m - 7, m})
        check(x, heed::causal(from + 6) && !heed::sink_tokens(from),
              [from](Index, Index, Index i, Index j) { return j >= from && j <= i + from + 6; });
      const auto lengths = int_tensor({5, int(m)});
      check(x, heed::key_lengths(lengths) && heed::causal(),
            [&](Index b, Index, Index i, Index j) { return j < lengths(b) && j <= i + lengths(b) - n; });
      const auto none = int_tensor({0, 1024 < int(m) ? 1024 : int(m)});
      check(x, heed::key_lengths(none), [&](Index b, Index, Index, Index j) { return j < none(b); });
    }
}

TEMPLATE_TEST_CASE("Many ranges of keys", "", float, double) {
  using T = TestType;
  constexpr Index m = 65 * 1024 + 5;
  const Inputs<T> x(1, 2, 1, 1, m, 3, 2, 1);
  check(x, heed::everything(), nullptr, 20);
  check(x, heed::causal() && heed::window_left(3), [](Index, Index, Index, Index j) { return j >= m - 4; });
}

TEMPLATE_TEST_CASE("Panels over ranges of keys", "", float, double) {
  using T = TestType;
  for (const Index n : {6, 16, 70})
    for (const Index m : {8191, 8192, 9001}) {
      CAPTURE(n, m);
      const Inputs<T> x(1, 2, 1, n, m, 3, 4, 2);
      check(x, heed::everything(), nullptr, 10);
      check(
          x, heed::causal() && heed::window_left(4500),
          [=](Index, Index, Index i, Index j) { return j <= i + m - n && j >= i + m - n - 4500; }, 10);
      const auto lengths = int_tensor({4096});
      check(
          x, heed::key_lengths(lengths), [](Index, Index, Index, Index j) { return j < 4096; }, 10);
      const auto hidden = attend_any(std::nullopt, heed::causal(-1000), x.q, x.k, x.v);
      for (Index i = 0; i < n; ++i) {
        CHECK(hidden.lse(0, 1, i) == -std::numeric_limits<T>::infinity());
        CHECK(hidden.out(0, 1, i, 3) == 0);
      }
    }
}

TEMPLATE_TEST_CASE("Poison in ranges of keys", "", float, double) {
  using T = TestType;
  for (const Index n : {1, 3, 18}) {
    const Index m = n == 18 ? 9000 : 3000;
    Inputs<T> x(1, 2, 1, n, m, 5, 6, 3);
    const auto rule = heed::causal(1500);
    const auto want = attend_any(std::nullopt, rule, x.q, x.k, x.v);
    for (Index j = 1501; j < m; ++j) {
      x.k(0, 0, j, j % 5) = T(kNaN);
      x.v(0, 0, j, j % 6) = j % 2 == 0 ? T(kNaN) : T(kInfinity);
    }
    const auto got = attend_any(std::nullopt, rule, x.q, x.k, x.v);
    CHECK(same_row(got, want, 0, 0, 0));
    CHECK(same_row(got, want, 0, 1, 0));
    x.v(0, 0, 7, 2) = T(kNaN);
    const auto seen = attend_any(std::nullopt, rule, x.q, x.k, x.v);
    CHECK(std::isnan(seen.out(0, 1, 0, 2)));
    CHECK(seen.out(0, 1, 0, 1) == want.out(0, 1, 0, 1));
    x.k(0, 0, 7, 2) = T(kNaN);
    const auto key = attend_any(std::nullopt, rule, x.q, x.k, x.v);
    CHECK(std::isnan(key.out(0, 1, 0, 1)));
    CHECK(std::isnan(key.lse(0, 1, 0)));
  }
}

TEMPLATE_TEST_CASE("A sink logit over ranges of keys counts once", "", float, double) {
  using T = TestType;
  Tensor<T, 1> logits(2);
  logits.setValues({T(8), T(-1)});
  for (const Index n : {1, 20}) {
    const Index m = n == 1 ? 4000 : 8300;
    const Inputs<T> x(1, 2, 1, n, m, 5, 6, 4);
    NaiveAttention naive;
    naive.extra_logit = [&](Index, Index h) { return double(logits(h)); };
    const auto want = naive(x.q, x.k, x.v);
    const auto got = attend_any(ErasedScore(heed::sink_logit(logits)), heed::everything(), x.q, x.k, x.v);
    CHECK(error_of(got.out, want.out) < 10 * kTolerance<T>);
    CHECK(error_of(got.lse, want.lse) < 10 * kTolerance<T>);
    const auto none = attend_any(ErasedScore(heed::sink_logit(logits)), !heed::everything(), x.q, x.k, x.v);
    CHECK(std::fabs(none.lse(0, 0, 0) - T(8)) < 1e-5);
    CHECK(none.out(0, 0, 0, 0) == 0);
  }
}
