// SPDX-License-Identifier: Apache-2.0
#include "heed/self/relative_convolutional_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/depthwise_1d.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::RelativeConvolutionalAttention;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
RelativeConvolutionalAttention<T> attention(Index c, Index heads, Index distance, bool causal) {
  RelativeConvolutionalAttention<T> attend{{.num_heads = heads, .causal = causal}};
  const Index width = c / heads;
  unsigned seed = 20;
  for (auto* part : {&attend.q, &attend.k, &attend.v, &attend.out})
    *part = heed::test::random_linear<T>(c, c, part == &attend.v || part == &attend.out, ++seed);
  for (auto* conv : {&attend.conv_q, &attend.conv_k, &attend.conv_v}) {
    conv->weight = random_tensor<T, 2>({width, 3}, ++seed);
    conv->bias = random_tensor<T, 1>({width}, ++seed);
  }
  attend.rel_key_table = random_tensor<T, 3>({2 * distance, heads, width}, ++seed);
  attend.rel_bias_table = random_tensor<T, 2>({2 * distance, heads}, ++seed);
  attend.content_bias = random_tensor<T, 2>({heads, width}, ++seed);
  return attend;
}

Tensor<double, 3> naive(const RelativeConvolutionalAttention<double>& attend, const Tensor<double, 3>& x,
                        const Tensor<double, 3>& z) {
  const Index heads = attend.options.num_heads, width = x.dimension(2) / heads, n = x.dimension(1), m = z.dimension(1);
  const auto convolved = [&](const auto& layer, const auto& conv, const auto& of) {
    const auto u = heed::test::apply(layer, of);
    Tensor<double, 3> y = u;
    for (Index b = 0; b < y.dimension(0); ++b)
      for (Index t = 0; t < y.dimension(1); ++t)
        for (Index c = 0; c < y.dimension(2); ++c) {
          y(b, t, c) = conv.bias(c % width);
          for (Index k = 0; k < 3; ++k)
            if (t - 2 + k >= 0) y(b, t, c) += conv.weight(c % width, k) * u(b, t - 2 + k, c);
        }
    return heed::test::heads_of(y, heads);
  };
  const auto q = convolved(attend.q, attend.conv_q, x), k = convolved(attend.k, attend.conv_k, z);
  heed::test::NaiveAttention dense;
  dense.visible = [&](Index, Index, Index i, Index j) { return !attend.options.causal || j <= i + m - n; };
  dense.score = [&](double s, Index b, Index h, Index i, Index j) {
    const Index row = attend.rel_bias_table.dimension(0) / 2 + j - (i + m - n);
    for (Index d = 0; d < width; ++d)
      s += (attend.content_bias(h, d) * k(b, h, j, d) + q(b, h, i, d) * attend.rel_key_table(row, h, d)) /
           std::sqrt(double(width));
    return s + attend.rel_bias_table(row, h) / std::sqrt(double(width));
  };
  return heed::test::apply(attend.out, heed::test::merged(dense(q, k, convolved(attend.v, attend.conv_v, z)).out));
}

Tensor<double, 3> joined(const Tensor<double, 3>& mem, const Tensor<double, 3>& x) { return heed::concat<1>(mem, x); }

}  // namespace

TEST_CASE("relative_convolutional_attention is its definition, with and without memory") {
  for (const bool causal : {false, true})
    for (const Index n : {1, 2, 3, 17, 40})
      for (const Index before : {0, 1, 5, 23}) {
        CAPTURE(causal, n, before);
        const auto attend = attention<double>(6, 2, n + before, causal);
        const auto x = random_tensor<double, 3>({2, n, 6}, 1), mem = random_tensor<double, 3>({2, before, 6}, 2);
        CHECK(error_of(attend(x, mem), naive(attend, x, joined(mem, x))) < 1e-12);
        if (before == 0) CHECK(error_of(attend(x), naive(attend, x, x)) < 1e-12);
      }
}

TEST_CASE("relative_convolutional_attention: the tables must reach, and the memory must fit") {
  const auto x = random_tensor<double, 3>({1, 4, 6}, 1), mem = random_tensor<double, 3>({1, 3, 6}, 2);
  const auto attend = attention<double>(6, 2, 6, true);
  CHECK_NOTHROW(attend(x));
  CHECK_THROWS_WITH(attend(x, mem),
                    "relative_convolutional_attention: the tables have distances up to P = 6, too few for 7 tokens");
  CHECK_THROWS_AS(attend(x, random_tensor<double, 3>({2, 1, 6}, 2)), heed::Error);
  CHECK(attend(Tensor<double, 3>(1, 0, 6)).size() == 0);
  CHECK(attend(Tensor<double, 3>(1, 0, 6), mem).size() == 0);
}

TEST_CASE("Gradients of relative_convolutional_attention, of the memory and the tables among them") {
  auto attend = attention<double>(4, 2, 6, true);
  auto x = random_tensor<double, 3>({2, 3, 4}, 1), mem = random_tensor<double, 3>({2, 2, 4}, 2);
  heed::test::check_gradients([&](auto&, const auto& v, const auto& z) { return attend(v, z); }, x, mem, attend);
  attend.options.causal = false;
  heed::test::check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
}
