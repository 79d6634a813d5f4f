// SPDX-License-Identifier: Apache-2.0
#include "heed/self/taylor_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("taylor_attention: softmax attention with the exponential's series, in every form") {
  for (const Index tokens : {1, 3, 17, 63})
    for (const bool causal : {true, false})
      for (const bool bias : {true, false}) {
        heed::TaylorAttention<double> attend{{.num_heads = 3, .causal = causal}};
        unsigned seed = 1;
        heed::for_each_parameter(attend, [&](std::string_view name, auto& p) {
          if constexpr (heed::kRankOf<decltype(p)> == 2)
            p = random_tensor<double, 2>({12, 12}, ++seed, 0.3);
          else if (bias)
            p = random_tensor<double, 1>({12}, ++seed, name == "out.bias" ? 1.0 : 0.3);
        });
        const auto x = random_tensor<double, 3>({2, tokens, 12}, 50);
        const auto heads = [&](const heed::Linear<double>& l) {
          Tensor<double, 3> y = l(x);
          Tensor<double, 4> out(2, 3, tokens, 4);
          for (Index b = 0; b < 2; ++b)
            for (Index h = 0; h < 3; ++h)
              for (Index i = 0; i < tokens; ++i)
                for (Index d = 0; d < 4; ++d) out(b, h, i, d) = y(b, i, h * 4 + d);
          return out;
        };
        heed::test::NaiveAttention naive;
        naive.visible = [&](Index, Index, Index i, Index j) { return !causal || j <= i; };
        naive.score = [](double s, Index, Index, Index, Index) { return std::log(1 + s + s * s / 2); };
        const auto mixed = naive(heads(attend.q), heads(attend.k), heads(attend.v)).out;
        Tensor<double, 3> merged(2, tokens, 12);
        for (Index b = 0; b < 2; ++b)
          for (Index i = 0; i < tokens; ++i)
            for (Index c = 0; c < 12; ++c) merged(b, i, c) = mixed(b, c / 4, i, c % 4);
        const Tensor<double, 3> want = attend.out(merged);
        using heed::LinearForm;
        for (const auto form :
             {LinearForm::kAuto, LinearForm::kRecurrent, LinearForm::kChunked, LinearForm::kParallel}) {
          attend.options.form = form;
          CHECK(error_of(attend(x), want) < 1e-13);
        }
      }
}

TEST_CASE("taylor_attention: errors") {
  heed::TaylorAttention<float> attend{{.num_heads = 3}};
  Tensor<float, 3> x(2, 5, 8);
  CHECK_THROWS_WITH(attend(x), "taylor_attention: C must be a multiple of num_heads = 3, got x of shape (2, 5, 8)");
  attend.options.num_heads = 2;
  CHECK_THROWS_WITH(attend(x), "taylor_attention: q.weight must have shape (8, 8), got (0, 0)");
}
