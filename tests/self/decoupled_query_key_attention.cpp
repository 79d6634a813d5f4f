// SPDX-License-Identifier: Apache-2.0
#include "heed/self/decoupled_query_key_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/linear.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
heed::DecoupledQueryKeyAttention<T> attention(Index channels, Index heads, bool causal, bool bias) {
  heed::DecoupledQueryKeyAttention<T> attend{{.num_heads = heads, .causal = causal}};
  unsigned seed = 10;
  for (auto* part : {&attend.q, &attend.k, &attend.v, &attend.out})
    *part = heed::test::random_linear<T>(channels, channels, bias, ++seed);
  return attend;
}

}  // namespace

TEST_CASE("decoupled_query_key_attention: a shared source gives what the same source for every sequence gives") {
  for (const bool causal : {false, true})
    for (const Index n : {1, 3, 17, 63}) {
      const auto attend = attention<double>(8, 2, causal, n == 17);
      const auto x = random_tensor<double, 3>({3, n, 8}, 1);
      const auto one = random_tensor<double, 3>({1, n + 2, 8}, 2);
      Tensor<double, 3> each(3, n + 2, 8);
      for (Index b = 0; b < 3; ++b)
        for (Index i = 0; i < one.size(); ++i) each.data()[b * one.size() + i] = one.data()[i];
      CHECK(error_of(attend(x, one), attend(x, each)) < 1e-13);
    }
}

TEST_CASE("decoupled_query_key_attention is attention by the source's scores") {
  for (const bool causal : {false, true})
    for (const Index n : {1, 5, 17}) {
      const auto attend = attention<float>(12, 3, causal, true);
      const auto x = random_tensor<float, 3>({2, n, 12}, 1), source = random_tensor<float, 3>({2, n, 12}, 2);
      heed::test::NaiveAttention naive;
      naive.visible = [&](Index, Index, Index i, Index j) { return !causal || j <= i; };
      const auto want = heed::test::naive_heads(naive, heed::test::apply(attend.q, source),
                                                heed::test::apply(attend.k, source), heed::test::apply(attend.v, x), 3);
      CHECK(error_of(attend(x, source), heed::test::apply(attend.out, want)) < 2e-5);
    }
}

TEST_CASE("decoupled_query_key_attention: no tokens, no sequences, and what does not fit") {
  const auto attend = attention<float>(4, 2, true, true);
  CHECK(attend(Tensor<float, 3>(2, 0, 4), Tensor<float, 3>(1, 3, 4)).size() == 0);
  CHECK(attend(Tensor<float, 3>(0, 2, 4), random_tensor<float, 3>({1, 3, 4}, 1)).size() == 0);
  const auto x = random_tensor<float, 3>({2, 3, 4}, 1);
  CHECK_THROWS_WITH(
      attend(x, random_tensor<float, 3>({1, 2, 4}, 1)),
      "decoupled_query_key_attention: qk_source must have shape (1 or B, Nx, C) with B = 2, Nx >= 3 and C "
      "= 4, got (1, 2, 4)");
  CHECK_THROWS_AS(attend(x, random_tensor<float, 3>({3, 3, 4}, 1)), heed::Error);
  CHECK_THROWS_AS((attention<float>(4, 3, true, true)(x, x)), heed::Error);
}

TEST_CASE("Gradients of decoupled_query_key_attention, of one source and of one for each sequence") {
  auto attend = attention<double>(4, 2, true, true);
  auto x = random_tensor<double, 3>({2, 3, 4}, 1), one = random_tensor<double, 3>({1, 4, 4}, 2);
  auto each = random_tensor<double, 3>({2, 3, 4}, 3);
  check_gradients([&](auto&, const auto& v, const auto& source) { return attend(v, source); }, x, one, attend);
  check_gradients([&](auto&, const auto& v, const auto& source) { return attend(v, source); }, x, each, attend);
}
