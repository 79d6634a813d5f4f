// SPDX-License-Identifier: Apache-2.0
#include "heed/self/transformer_xl_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::Tensor;
using heed::TransformerXlAttention;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
TransformerXlAttention<T> attention(Index c, Index heads, Index width, Index clamp_len) {
  TransformerXlAttention<T> attend{{.num_heads = heads, .head_dim = width, .clamp_len = clamp_len}};
  unsigned seed = 20;
  for (auto* part : {&attend.q, &attend.k, &attend.v, &attend.r})
    *part = heed::test::random_linear<T>(heads * width, c, false, ++seed);
  attend.out = heed::test::random_linear<T>(c, heads * width, false, ++seed);
  attend.content_bias = random_tensor<T, 2>({heads, width}, ++seed);
  attend.position_bias = random_tensor<T, 2>({heads, width}, ++seed);
  return attend;
}

Tensor<double, 3> naive(const TransformerXlAttention<double>& attend, const Tensor<double, 3>& x,
                        const Tensor<double, 3>& z) {
  const auto& o = attend.options;
  const Index n = x.dimension(1), m = z.dimension(1), c = x.dimension(2);
  Tensor<double, 3> codes(1, m, c);
  for (Index distance = 0; distance < m; ++distance)
    for (Index d = 0; d < c / 2; ++d) {
      const double angle = double(o.clamp_len > 0 ? std::min(distance, o.clamp_len) : distance) /
                           std::pow(10000.0, 2 * double(d) / double(c));
      codes(0, distance, d) = std::sin(angle);
      codes(0, distance, c / 2 + d) = std::cos(angle);
    }
  const auto r = heed::test::heads_of(heed::test::apply(attend.r, codes), o.num_heads);
  const auto q = heed::test::heads_of(heed::test::apply(attend.q, x), o.num_heads);
  const auto k = heed::test::heads_of(heed::test::apply(attend.k, z), o.num_heads);
  heed::test::NaiveAttention dense;
  dense.visible = [&](Index, Index, Index i, Index j) { return j <= i + m - n; };
  dense.score = [&](double s, Index b, Index h, Index i, Index j) {
    for (Index d = 0; d < o.head_dim; ++d)
      s += (attend.content_bias(h, d) * k(b, h, j, d) +
            (q(b, h, i, d) + attend.position_bias(h, d)) * r(0, h, i + m - n - j, d)) /
           std::sqrt(double(o.head_dim));
    return s;
  };
  const auto v = heed::test::heads_of(heed::test::apply(attend.v, z), o.num_heads);
  return heed::test::apply(attend.out, heed::test::merged(dense(q, k, v).out));
}

}  // namespace

TEST_CASE("transformer_xl_attention is its definition, with and without memory, clamped or not") {
  for (const Index clamp_len : {-1, 0, 2, 10})
    for (const Index n : {1, 2, 17, 40})
      for (const Index before : {0, 1, 5, 23}) {
        CAPTURE(clamp_len, n, before);
        const auto attend = attention<double>(6, 2, 5, clamp_len);
        const auto x = random_tensor<double, 3>({2, n, 6}, 1), mem = random_tensor<double, 3>({2, before, 6}, 2);
        CHECK(error_of(attend(x, mem), naive(attend, x, heed::concat<1>(mem, x))) < 1e-12);
        if (before == 0) CHECK(error_of(attend(x), naive(attend, x, x)) < 1e-12);
      }
}

TEST_CASE("transformer_xl_attention refuses what does not fit, by name") {
  const auto x = random_tensor<float, 3>({1, 4, 6}, 1);
  auto attend = attention<float>(6, 2, 4, -1);
  CHECK(attend(Tensor<float, 3>(1, 0, 6)).size() == 0);
  CHECK_THROWS_WITH(attend(x, random_tensor<float, 3>({1, 2, 5}, 1)),
                    "transformer_xl_attention: mem must have shape (B, Lm, C) = (1, Lm, 6), got (1, 2, 5)");
  attend.position_bias.resize(4, 2);
  CHECK_THROWS_WITH(attend(x), "transformer_xl_attention: position.bias must have shape (2, 4), got (4, 2)");
  CHECK_THROWS_WITH(attention<float>(5, 1, 4, -1)(random_tensor<float, 3>({1, 4, 5}, 1)),
                    "transformer_xl_attention: C must be even, got 5");
}

TEST_CASE("Gradients of transformer_xl_attention") {
  auto attend = attention<double>(4, 2, 3, 3);
  auto x = random_tensor<double, 3>({2, 3, 4}, 1), mem = random_tensor<double, 3>({2, 2, 4}, 2);
  heed::test::check_gradients([&](auto&, const auto& v, const auto& z) { return attend(v, z); }, x, mem, attend);
}
