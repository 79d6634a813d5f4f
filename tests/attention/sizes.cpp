// SPDX-License-Identifier: Apache-2.0
// softmax_attention against its definition, over sizes that fit no tile.
#include "catch.hpp"
#include "support/any_attention.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

template <class T>
void check(Index b, Index h, Index hk, Index n, Index m, Index d, Index dv) {
  CAPTURE(b, h, hk, n, m, d, dv);
  const Inputs<T> x(b, h, hk, n, m, d, dv, unsigned(n * 131 + m * 17 + d * 5 + dv));
  Tensor<T, 4> out(b, h, n, dv);
  Tensor<T, 3> lse(b, h, n);
  out.setConstant(T(kNaN));
  lse.setConstant(T(kNaN));
  heed::softmax_attention()(x.q, x.k, x.v, heed::into(out, lse));
  const auto want = NaiveAttention()(x.q, x.k, x.v);
  CHECK(error_of(out, want.out) < kTolerance<T>);
  CHECK(error_of(lse, want.lse) < kTolerance<T>);
}

constexpr Index kLengths[] = {0, 1, 3, 5, 16, 17, 63, 64, 65, 197, 500};
constexpr Index kWidths[] = {1, 3, 16, 17, 63, 64, 65, 128};

}  // namespace

TEMPLATE_TEST_CASE("Every pair of lengths", "", float, double) {
  std::size_t at = 0;
  for (const Index n : kLengths)
    for (const Index m : kLengths) {
      const Index d = kWidths[at % std::size(kWidths)], dv = kWidths[(at * 3 + 1) % std::size(kWidths)];
      check<TestType>(1, 1, 1, n, m, d, dv);
      ++at;
    }
}

TEMPLATE_TEST_CASE("Every pair of widths", "", float, double) {
  for (const Index d : kWidths)
    for (const Index dv : kWidths) {
      check<TestType>(1, 1, 1, 1, 17, d, dv);
      check<TestType>(1, 2, 1, 3, 65, d, dv);
      check<TestType>(1, 1, 1, 21, 37, d, dv);
    }
}

TEMPLATE_TEST_CASE("Heads that share keys", "", float, double) {
  for (const Index hk : {1, 2, 3})
    for (const Index group : {1, 2, 3, 5, 8, 17})
      for (const Index n : {1, 2, 5, 18, 66}) check<TestType>(2, hk * group, hk, n, 29, 5, 6);
}

TEMPLATE_TEST_CASE("Empty batches, heads and rows", "", float, double) {
  using T = TestType;
  check<T>(0, 2, 1, 3, 4, 5, 6);
  check<T>(0, 0, 0, 0, 0, 1, 1);
  check<T>(2, 0, 0, 3, 4, 5, 6);
  check<T>(2, 0, 3, 3, 4, 5, 6);
  check<T>(2, 2, 1, 0, 4, 5, 6);
  check<T>(2, 2, 1, 0, 0, 5, 6);
  check<T>(2, 2, 1, 70, 0, 5, 6);
  const auto [out, lse] =
      heed::softmax_attention().with_lse(Tensor<T, 4>(1, 1, 20, 2), Tensor<T, 4>(1, 1, 0, 2), Tensor<T, 4>(1, 1, 0, 3));
  for (Index i = 0; i < 20; ++i) {
    for (Index d = 0; d < 3; ++d) CHECK(out(0, 0, i, d) == 0);
    CHECK(lse(0, 0, i) == -std::numeric_limits<T>::infinity());
  }
}

TEMPLATE_TEST_CASE("One key gets all the weight", "", float, double) {
  using T = TestType;
  for (const Index n : {1, 4, 16, 70}) {
    const Inputs<T> x(1, 2, 2, n, 1, 9, 11, 3);
    const Tensor<T, 4> out = heed::softmax_attention()(x.q, x.k, x.v);
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < n; ++i)
        for (Index d = 0; d < 11; ++d)
          REQUIRE(std::fabs(out(0, h, i, d) - x.v(0, h, 0, d)) <=
                  std::fabs(x.v(0, h, 0, d)) * 4 * std::numeric_limits<T>::epsilon());
  }
}

TEMPLATE_TEST_CASE("The scale is 1 / sqrt(D) unless given", "", float, double) {
  using T = TestType;
  const Inputs<T> x(1, 2, 1, 18, 33, 12, 5, 4);
  for (const std::optional<double> scale :
       {std::optional<double>(), std::optional(0.), std::optional(1.), std::optional(-0.7)}) {
    const auto [out, lse] = heed::softmax_attention(heed::SoftmaxOptions{.scale = scale}).with_lse(x.q, x.k, x.v);
    NaiveAttention naive;
    naive.scale = scale;
    const auto want = naive(x.q, x.k, x.v);
    CHECK(error_of(out, want.out) < kTolerance<T>);
    CHECK(error_of(lse, want.lse) < kTolerance<T>);
  }
}
