// SPDX-License-Identifier: Apache-2.0
#include "heed/self/l_query_self_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/masked_fill.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/window_mean.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::LQuerySelfAttention;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_mask;
using heed::test::random_tensor;

namespace {

template <class T>
LQuerySelfAttention<T> attention(Index channels, Index window, Index heads) {
  LQuerySelfAttention<T> attend{{.window_size = window, .num_heads = heads}};
  attend.norm.weight = random_tensor<T, 1>({channels}, 1);
  attend.norm.bias = random_tensor<T, 1>({channels}, 2);
  attend.q = heed::test::random_linear<T>(channels, channels, true, 3);
  attend.k = heed::test::random_linear<T>(channels, channels, true, 4);
  attend.v = heed::test::random_linear<T>(channels, channels, true, 5);
  return attend;
}

Tensor<double, 3> naive(const LQuerySelfAttention<double>& attend, Tensor<double, 3> x,
                        const Tensor<std::uint8_t, 2>& mask) {
  const Index n = x.dimension(1), c = x.dimension(2);
  Tensor<double, 3> u(x.dimension(0), n, c);
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index t = 0; t < n; ++t) {
      std::vector<double> z(static_cast<std::size_t>(c));
      double count = 0, mean = 0, variance = 0;
      for (Index s = std::max<Index>(0, t - attend.options.window_size + 1); s <= t; ++s) {
        if (mask(b, s) == 0) continue;
        ++count;
        for (Index d = 0; d < c; ++d) z[std::size_t(d)] += x(b, s, d);
      }
      for (auto& e : z) mean += (e /= count + 1e-24) / double(c);
      for (const double e : z) variance += (e - mean) * (e - mean) / double(c);
      for (Index d = 0; d < c; ++d)
        u(b, t, d) =
            (z[std::size_t(d)] - mean) / std::sqrt(variance + 1e-24) * attend.norm.weight(d) + attend.norm.bias(d);
    }
  heed::test::NaiveAttention dense;
  dense.visible = [&](Index b, Index, Index i, Index j) { return j <= i && mask(b, j) != 0; };
  auto out = heed::test::naive_heads(dense, heed::test::apply(attend.q, u), heed::test::apply(attend.k, x),
                                     heed::test::apply(attend.v, x), attend.options.num_heads);
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index t = 0; t < n; ++t)
      for (Index d = 0; d < c; ++d) out(b, t, d) = mask(b, t) != 0 ? out(b, t, d) + u(b, t, d) : 0;
  return out;
}

}  // namespace

TEST_CASE("l_query_self_attention is its definition, and what is padding takes no part") {
  for (const Index n : {0, 1, 3, 17, 63})
    for (const Index window : {1, 3, 100})
      for (const Index heads : {1, 2}) {
        const auto attend = attention<double>(6, window, heads);
        auto x = random_tensor<double, 3>({2, n, 6}, 7);
        const auto mask = random_mask<2>({2, n}, 8, 0.6);
        const auto want = naive(attend, x, mask);
        for (Index b = 0; b < 2; ++b)
          for (Index t = 0; t < n; ++t)
            if (mask(b, t) == 0) x(b, t, t % 6) = heed::test::kNaN;
        CHECK(error_of(attend(x, mask), want) < 1e-11);
      }
}

TEST_CASE("l_query_self_attention in float: a constant row is the norm's bias") {
  auto attend = attention<float>(4, 1, 1);
  attend.v.weight.setZero();
  attend.v.bias.setZero();
  Tensor<float, 3> x(1, 2, 4);
  x.setConstant(3);
  Tensor<std::uint8_t, 2> mask(1, 2);
  mask.setConstant(1);
  const auto got = attend(x, mask);
  for (Index d = 0; d < 4; ++d) CHECK(got(0, 1, d) == attend.norm.bias(d));
  CHECK_THROWS_WITH(attend(x, Tensor<std::uint8_t, 2>(1, 3)),
                    "l_query_self_attention: mask must have shape (1, 2), got (1, 3)");
  attend.options.window_size = 0;
  CHECK_THROWS_AS(attend(x, mask), heed::Error);
}

TEST_CASE("Gradients of l_query_self_attention") {
  auto attend = attention<double>(4, 3, 2);
  auto x = random_tensor<double, 3>({2, 5, 4}, 7);
  Tensor<std::uint8_t, 2> mask(2, 5);
  mask.setConstant(1);
  mask(0, 0) = mask(0, 1) = mask(1, 3) = 0;
  heed::test::check_gradients([&](auto&, const auto& v) { return attend(v, mask); }, x, attend);
}
