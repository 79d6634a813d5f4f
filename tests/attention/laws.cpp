// SPDX-License-Identifier: Apache-2.0
// What holds of softmax attention whatever the numbers are.
#include <numeric>

#include "catch.hpp"
#include "support/any_attention.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

constexpr Index kQueries[] = {1, 4, 5, 16, 21, 70};

template <class T>
Tensor<T, 4> reordered(const Tensor<T, 4>& x, const std::vector<Index>& order) {
  Tensor<T, 4> result(x.dimensions());
  for (Index j = 0; j < x.dimension(2); ++j) result.chip(j, 2) = x.chip(order[std::size_t(j)], 2);
  return result;
}

}  // namespace

TEMPLATE_TEST_CASE("The order of keys does not matter", "", float, double) {
  using T = TestType;
  for (const Index n : kQueries) {
    const Inputs<T> x(2, 2, 1, n, 133, 17, 9, 7);
    std::vector<Index> order(133);
    std::iota(order.begin(), order.end(), Index(0));
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    const auto a = attend_any(std::nullopt, heed::everything(), x.q, x.k, x.v);
    const auto b = attend_any(std::nullopt, heed::everything(), x.q, reordered(x.k, order), reordered(x.v, order));
    CHECK(error_of(b.out, a.out) < kTolerance<T>);
    CHECK(error_of(b.lse, a.lse) < kTolerance<T>);
  }
}

TEMPLATE_TEST_CASE("The order of queries does not matter, and a query does not know of the others", "", float, double) {
  using T = TestType;
  const Inputs<T> x(1, 2, 2, 70, 50, 8, 9, 8);
  std::vector<Index> order(70);
  std::iota(order.begin(), order.end(), Index(0));
  std::shuffle(order.begin(), order.end(), std::mt19937(2));
  const auto a = attend_any(std::nullopt, heed::everything(), x.q, x.k, x.v);
  const auto b = attend_any(std::nullopt, heed::everything(), reordered(x.q, order), x.k, x.v);
  CHECK(error_of(b.out, reordered(a.out, order)) < kTolerance<T>);
  for (const Index i : {0, 15, 16, 64, 69}) {
    const auto one = attend_any(std::nullopt, heed::everything(), heed::const_view(x.q).slice(2, i, 1),
                                heed::const_view(x.k), heed::const_view(x.v));
    CHECK(error_of(heed::view(one.out), heed::const_view(a.out).slice(2, i, 1)) < kTolerance<T>);
  }
}

TEMPLATE_TEST_CASE("A constant added to all scores moves the log-sum-exp and nothing else", "", float, double) {
  using T = TestType;
  for (const Index n : kQueries) {
    const Inputs<T> x(1, 2, 1, n, 133, 17, 9, 9);
    const auto a = attend_any(std::nullopt, heed::everything(), x.q, x.k, x.v);
    for (const double c : {-100., -1., 0., 0.5, 80., 100., 1000.}) {
      const auto b = attend_any(
          ErasedScore([c](auto s, const auto&) { return s + decltype(s)(typename decltype(s)::value_type(c)); }),
          heed::everything(), x.q, x.k, x.v);
      // s + c has rounded s to the units of c.
      const double tolerance = kTolerance<T> * (1 + std::fabs(c));
      CHECK(error_of(b.out, a.out) < tolerance);
      const Tensor<T, 3> moved = a.lse + T(c);
      CHECK(error_of(b.lse, moved) < tolerance);
    }
  }
}

TEMPLATE_TEST_CASE("Values enter linearly", "", float, double) {
  using T = TestType;
  for (const Index n : kQueries) {
    const Inputs<T> x(1, 2, 1, n, 100, 17, 9, 10), y(1, 2, 1, n, 100, 17, 9, 20);
    const Tensor<T, 4> sum = x.v * T(2) + y.v;
    const auto a = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    const auto b = attend_any(std::nullopt, heed::causal(), x.q, x.k, y.v);
    const auto c = attend_any(std::nullopt, heed::causal(), x.q, x.k, sum);
    const Tensor<T, 4> expected = a.out * T(2) + b.out;
    CHECK(error_of(c.out, expected) < 3 * kTolerance<T>);
    CHECK(same_bits(a.lse, c.lse));
    Tensor<T, 4> ones = x.v;
    ones.setConstant(T(1));
    const auto d = attend_any(std::nullopt, heed::everything(), x.q, x.k, ones);
    ones.resize(1, 2, n, 9);
    ones.setConstant(T(1));
    CHECK(error_of(d.out, ones) < kTolerance<T>);
  }
}

TEMPLATE_TEST_CASE("Parts of the keys merge by their log-sum-exps", "", float, double) {
  using T = TestType;
  for (const Index n : kQueries)
    for (const Index cut : {0, 1, 16, 50, 99, 100}) {
      const Inputs<T> x(1, 2, 1, n, 100, 7, 5, 11);
      const auto k = heed::const_view(x.k), v = heed::const_view(x.v), q = heed::const_view(x.q);
      const auto whole = attend_any(std::nullopt, heed::everything(), q, k, v);
      const auto a = attend_any(std::nullopt, heed::everything(), q, k.slice(2, 0, cut), v.slice(2, 0, cut));
      const auto b =
          attend_any(std::nullopt, heed::everything(), q, k.slice(2, cut, 100 - cut), v.slice(2, cut, 100 - cut));
      Tensor<double, 4> merged(1, 2, n, 5);
      for (Index h = 0; h < 2; ++h)
        for (Index i = 0; i < n; ++i)
          for (Index d = 0; d < 5; ++d)
            merged(0, h, i, d) =
                std::exp(double(a.lse(0, h, i)) - double(whole.lse(0, h, i))) * double(a.out(0, h, i, d)) +
                std::exp(double(b.lse(0, h, i)) - double(whole.lse(0, h, i))) * double(b.out(0, h, i, d));
      CHECK(error_of(whole.out, merged) < 4 * kTolerance<T>);
    }
}

TEMPLATE_TEST_CASE("Keys twice are values averaged", "", float, double) {
  using T = TestType;
  for (const Index n : kQueries) {
    const Inputs<T> x(1, 1, 1, n, 60, 7, 5, 12);
    Tensor<T, 4> k(1, 1, 120, 7), v(1, 1, 120, 5);
    for (Index j = 0; j < 120; ++j) {
      k.chip(j, 2) = x.k.chip(j / 2, 2);
      v.chip(j, 2) = x.v.chip(j / 2, 2) * T(j % 2 == 0 ? 3 : -1);
    }
    const auto a = attend_any(std::nullopt, heed::everything(), x.q, x.k, x.v);
    const auto b = attend_any(std::nullopt, heed::everything(), x.q, k, v);
    CHECK(error_of(b.out, a.out) < 4 * kTolerance<T>);
    const Tensor<T, 3> moved = a.lse + T(std::log(2.));
    CHECK(error_of(b.lse, moved) < kTolerance<T>);
  }
}

TEMPLATE_TEST_CASE("Scores of any magnitude", "", float, double) {
  using T = TestType;
  // Keys that are told apart by 1, far from 0.
  for (const Index n : kQueries)
    for (const double c : {0., 1e3, -1e3, 1e5, -1e5, 1e6, -1e6, 1e7, -1e7}) {
      CAPTURE(n, c);
      const Inputs<T> x(1, 1, 1, n, 70, 3, 5, 13);
      const auto by_key = [c](auto s, const auto& at) {
        using S = decltype(s);
        using U = typename S::value_type;
        return s * S(U(0)) + S(U(c)) - heed::simd::to_real<U>(at.key());
      };
      const auto a = attend_any(ErasedScore(by_key), heed::everything(), x.q, x.k, x.v);
      NaiveAttention naive;
      naive.score = [c](double, Index, Index, Index, Index j) { return double(T(c) - T(j)); };
      const auto want = naive(x.q, x.k, x.v);
      CHECK(error_of(a.out, want.out) < kTolerance<T>);
      CHECK(error_of(a.lse, want.lse) < (1 + std::fabs(c)) * kTolerance<T>);
    }
}

TEMPLATE_TEST_CASE("Equal scores of any magnitude share the weight", "", float, double) {
  using T = TestType;
  for (const Index n : kQueries)
    for (const double c : {0., 1e8, -1e9, 1e10, -1e10, 1e20, -1e30, 2e38, -2e38,
                           double(std::numeric_limits<T>::max()) / 2, double(std::numeric_limits<T>::lowest()) / 2}) {
      CAPTURE(n, c);
      const Inputs<T> x(1, 1, 1, n, 70, 3, 5, 14);
      const auto constant = [c](auto s, const auto&) {
        using S = decltype(s);
        return S(typename S::value_type(c));
      };
      const auto a = attend_any(ErasedScore(constant), heed::everything(), x.q, x.k, x.v);
      NaiveAttention naive;
      naive.score = [](double, Index, Index, Index, Index) { return 0.; };
      const auto want = naive(x.q, x.k, x.v);
      CHECK(error_of(a.out, want.out) < kTolerance<T>);
    }
}
