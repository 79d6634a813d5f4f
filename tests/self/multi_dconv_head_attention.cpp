// SPDX-License-Identifier: Apache-2.0
#include "heed/self/multi_dconv_head_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/depthwise_1d.hpp"
#include "heed/autodiff/linear.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::MultiDconvHeadAttention;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
MultiDconvHeadAttention<T> attention(Index c, Index heads, Index taps, bool per_head, bool causal) {
  MultiDconvHeadAttention<T> attend{{.num_heads = heads, .per_head_kernel = per_head, .causal = causal}};
  unsigned seed = 20;
  for (auto* part : {&attend.q, &attend.k, &attend.v, &attend.out})
    *part = heed::test::random_linear<T>(c, c, true, ++seed);
  const Index width = c / heads;
  if (per_head) {
    for (auto* conv : {&attend.head_conv_q, &attend.head_conv_k, &attend.head_conv_v}) {
      conv->weight = random_tensor<T, 3>({heads, width, taps}, ++seed);
      conv->bias = random_tensor<T, 2>({heads, width}, ++seed);
    }
  } else {
    for (auto* conv : {&attend.conv_q, &attend.conv_k, &attend.conv_v}) {
      conv->weight = random_tensor<T, 2>({width, taps}, ++seed);
      conv->bias = random_tensor<T, 1>({width}, ++seed);
    }
  }
  return attend;
}

template <class T>
Tensor<double, 3> naive(const MultiDconvHeadAttention<T>& attend, const Tensor<T, 3>& x) {
  const auto& o = attend.options;
  const Index width = x.dimension(2) / o.num_heads;
  const auto convolved = [&](const auto& layer, const auto& shared, const auto& by_head) {
    const auto u = heed::test::apply(layer, x);
    Tensor<double, 3> y = u;
    for (Index b = 0; b < y.dimension(0); ++b)
      for (Index n = 0; n < y.dimension(1); ++n)
        for (Index c = 0; c < y.dimension(2); ++c) {
          const Index h = c / width, d = c % width;
          y(b, n, c) = double(o.per_head_kernel ? by_head.bias(h, d) : shared.bias(d));
          const Index taps = o.per_head_kernel ? by_head.weight.dimension(2) : shared.weight.dimension(1);
          for (Index t = 0; t < taps; ++t)
            if (const Index from = n - (taps - 1) + t; from >= 0)
              y(b, n, c) += double(o.per_head_kernel ? by_head.weight(h, d, t) : shared.weight(d, t)) * u(b, from, c);
        }
    return y;
  };
  heed::test::NaiveAttention dense;
  dense.visible = [&](Index, Index, Index i, Index j) { return !o.causal || j <= i; };
  return heed::test::apply(
      attend.out, heed::test::naive_heads(dense, convolved(attend.q, attend.conv_q, attend.head_conv_q),
                                          convolved(attend.k, attend.conv_k, attend.head_conv_k),
                                          convolved(attend.v, attend.conv_v, attend.head_conv_v), o.num_heads));
}

}  // namespace

TEST_CASE("multi_dconv_head_attention is its definition, with filters of all heads and of each") {
  for (const bool per_head : {false, true})
    for (const bool causal : {false, true})
      for (const Index n : {0, 1, 2, 17, 63})
        for (const Index taps : {1, 3}) {
          const auto attend = attention<double>(6, 2, taps, per_head, causal);
          const auto x = random_tensor<double, 3>({2, n, 6}, 1);
          CHECK(error_of(attend(x), naive(attend, x)) < 1e-12);
        }
}

TEST_CASE("multi_dconv_head_attention refuses what does not fit, by name") {
  const auto x = random_tensor<float, 3>({1, 3, 6}, 1);
  auto attend = attention<float>(6, 2, 3, false, true);
  attend.conv_k.weight.resize(2, 3);
  CHECK_THROWS_WITH(attend(x),
                    heed::test::contains("multi_dconv_head_attention: conv_k.weight must have shape (3, K)"));
  auto by_head = attention<float>(6, 2, 3, true, true);
  by_head.head_conv_v.bias.resize(3, 2);
  CHECK_THROWS_WITH(by_head(x),
                    "multi_dconv_head_attention: conv_v.bias must be empty or have shape (2, 3), got (3, 2)");
}

TEST_CASE("Gradients of multi_dconv_head_attention") {
  auto x = random_tensor<double, 3>({2, 4, 4}, 1);
  for (const bool per_head : {false, true}) {
    auto attend = attention<double>(4, 2, 3, per_head, true);
    heed::test::check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  }
}
