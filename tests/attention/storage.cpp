// SPDX-License-Identifier: Apache-2.0
// bfloat16 and half as storage: the same bits as float tensors of the same numbers, up to the rounding of the output.
#include "catch.hpp"
#include "support/any_attention.hpp"

using heed::bfloat16;
using heed::half;
using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

template <class To, class From>
Tensor<To, 4> as(const Tensor<From, 4>& x) {
  Tensor<To, 4> result(x.dimensions());
  for (Index i = 0; i < x.size(); ++i) result.data()[i] = static_cast<To>(static_cast<float>(x.data()[i]));
  return result;
}

struct Case {
  Index h, hk, n, m, d, dv;
};
constexpr Case kCases[] = {{4, 2, 1, 70, 5, 6},    {8, 1, 1, 33, 128, 64},  {2, 2, 3, 40, 17, 3},
                           {2, 1, 18, 90, 16, 16}, {1, 1, 70, 130, 63, 65}, {2, 1, 1, 5000, 64, 32}};

// Queries of UQ over keys and values of U, into UQ and into float.
template <class UQ, class U>
void check() {
  for (const auto [h, hk, n, m, d, dv] : kCases) {
    CAPTURE(h, hk, n, m, d, dv);
    const Tensor<UQ, 4> q = random_tensor<UQ, 4>({2, h, n, d}, 1);
    const Tensor<U, 4> k = random_tensor<U, 4>({2, hk, m, d}, 2), v = random_tensor<U, 4>({2, hk, m, dv}, 3);
    const auto attend = heed::softmax_attention(heed::causal());
    const auto [want, want_lse] = attend.with_lse(as<float>(q), as<float>(k), as<float>(v));
    Tensor<float, 4> wide(2, h, n, dv);
    Tensor<float, 3> lse(2, h, n);
    attend(q, k, v, heed::into(wide, lse));
    CHECK(error_of(wide, want) < kTolerance<float>);
    CHECK(error_of(lse, want_lse) < kTolerance<float>);
    const auto [out, own_lse] = attend.with_lse(q, k, v);
    static_assert(std::same_as<std::remove_const_t<decltype(out)>, Tensor<UQ, 4>>);
    static_assert(std::same_as<std::remove_const_t<decltype(own_lse)>, Tensor<float, 3>>);
    CHECK(same_bits(own_lse, lse));
    CHECK(error_of(out, as<UQ>(wide)) == 0);
    // Any layout.
    Eigen::array<Index, 4> turn{3, 2, 1, 0};
    const Tensor<U, 4> kt = k.shuffle(turn), vt = v.shuffle(turn);
    Tensor<float, 4> turned(2, h, n, dv);
    attend(q, heed::const_view(kt).permute({3, 2, 1, 0}), heed::const_view(vt).permute({3, 2, 1, 0}),
           heed::into(turned));
    CHECK(error_of(turned, wide) < kTolerance<float>);
  }
}

}  // namespace

TEST_CASE("bfloat16 queries, keys and values") { check<bfloat16, bfloat16>(); }
TEST_CASE("half queries, keys and values") { check<half, half>(); }
TEST_CASE("float queries over a bfloat16 cache") { check<float, bfloat16>(); }
TEST_CASE("bfloat16 queries over a half cache") { check<bfloat16, half>(); }

TEMPLATE_TEST_CASE("Poison in 16-bit storage", "", bfloat16, half) {
  using U = TestType;
  for (const Index n : {1, 19}) {
    const Tensor<float, 4> q = random_tensor<float, 4>({1, 2, n, 9}, 4);
    Tensor<U, 4> k = random_tensor<U, 4>({1, 1, 60, 9}, 5), v = random_tensor<U, 4>({1, 1, 60, 7}, 6);
    const auto attend = heed::softmax_attention(heed::causal(10));
    Tensor<float, 4> want(1, 2, n, 7), got(1, 2, n, 7);
    attend(q, k, v, heed::into(want));
    for (Index j = 11; j < 60; ++j) {
      k(0, 0, j, 3) = static_cast<U>(std::numeric_limits<float>::quiet_NaN());
      v(0, 0, j, 2) = static_cast<U>(std::numeric_limits<float>::infinity());
      v(0, 0, j, 6) = static_cast<U>(std::numeric_limits<float>::quiet_NaN());
    }
    attend(q, k, v, heed::into(got));
    for (Index h = 0; h < 2; ++h)
      for (Index d = 0; d < 7; ++d) CHECK(got(0, h, 0, d) == want(0, h, 0, d));
    if (n > 1) CHECK(std::isnan(got(0, 0, 1, 0)));
  }
}
