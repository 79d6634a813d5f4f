// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/entmax_attention.hpp"

#include "heed/autodiff/row_weights.hpp"
#include "heed/sparse/entmax.hpp"
#include "heed/sparse/sigmoid_attention.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

struct Inputs {
  Tensor<double, 4> q, k, v;
  Inputs(Index n, Index m, Index d, Index dv, Index heads = 2)
      : q(random_tensor<double, 4>({2, heads, n, d}, 1)),
        k(random_tensor<double, 4>({2, heads, m, d}, 2)),
        v(random_tensor<double, 4>({2, heads, m, dv}, 3)) {}
};

// out - weights times v, with weigh(row of scores, i) in place.
template <class Weigh>
double error(const Inputs& in, const Tensor<double, 4>& out, double scale, Index reach, const Weigh& weigh) {
  const Index n = in.q.dimension(2), m = in.k.dimension(2);
  double worst = 0;
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < in.q.dimension(1); ++h)
      for (Index i = 0; i < n; ++i) {
        Tensor<double, 1> s(m);
        for (Index j = 0; j < m; ++j) {
          s(j) = 0;
          for (Index c = 0; c < in.q.dimension(3); ++c) s(j) += scale * in.q(b, h, i, c) * in.k(b, h, j, c);
          if (j > i + reach) s(j) = -INFINITY;
        }
        const Tensor<double, 1> w = weigh(s, i);
        for (Index c = 0; c < in.v.dimension(3); ++c) {
          double want = 0;
          for (Index j = 0; j < m; ++j) want += w(j) * in.v(b, h, j, c);
          worst = std::max(worst, std::abs(want - out(b, h, i, c)));
        }
      }
  return worst;
}

constexpr Index kAll = 1000;

}  // namespace

TEST_CASE("entmax_attention is entmax of the scores times the values") {
  for (const Index n : {1, 3, 17, 70}) {
    CAPTURE(n);
    const Inputs in(n, n + 2, 5, 3);
    for (const double alpha : {1.0, 1.5, 1.8, 2.0})
      for (const bool causal : {false, true}) {
        const heed::EntmaxAttention<double> attend{{.alpha = alpha, .causal = causal, .scale = 0.7}, {}};
        const auto weigh = [&](const auto& s, Index) { return heed::entmax(s, alpha); };
        CHECK(error(in, attend(in.q, in.k, in.v), 0.7, causal ? 2 : kAll, weigh) < 1e-12);
      }
  }
}

TEST_CASE("sigmoid_attention weighs every pair on its own") {
  const Inputs in(67, 67, 4, 5);
  using enum heed::SigmoidNormalization;
  for (const auto normalization : {kNone, kSqrt, kLinear}) {
    const heed::SigmoidAttention attend{{.bias = -1, .normalization = normalization, .causal = normalization != kSqrt}};
    const auto weigh = [&](Tensor<double, 1> s, Index i) {
      const double power = normalization == kNone ? 0 : normalization == kSqrt ? -0.5 : -1;
      for (Index j = 0; j < s.size(); ++j) s(j) = std::pow(double(i + 1), power) / (1 + std::exp(1 - s(j)));
      return s;
    };
    CHECK(error(in, attend(in.q, in.k, in.v), 0.5, normalization != kSqrt ? 0 : kAll, weigh) < 1e-12);
  }
}

TEST_CASE("Hidden keys take no part in attention by rows") {
  Inputs in(5, 5, 4, 3);
  Tensor<std::uint8_t, 2> mask(2, 5);
  mask.setValues({{1, 0, 1, 1, 0}, {0, 0, 0, 0, 0}});
  const heed::EntmaxAttention<double> attend{{.causal = true}, {}};
  const Tensor<double, 4> before = attend(in.q, in.k, in.v, mask);
  for (Index h = 0; h < 2; ++h)
    for (Index c = 0; c < 3; ++c) in.k(0, h, 1, c) = in.v(0, h, 1, c) = in.v(0, h, 4, c) = kNaN;
  const Tensor<double, 4> after = attend(in.q, in.k, in.v, mask);
  for (Index e = 0; e < after.size() / 2; ++e) CHECK(after.data()[e] == before.data()[e]);
  for (Index e = after.size() / 2; e < after.size(); ++e) CHECK(after.data()[e] == 0);
  Inputs later(5, 5, 4, 3);
  later.v.chip(4, 2).setConstant(kNaN);
  const Tensor<double, 4> out = heed::SigmoidAttention{{.causal = true}}(later.q, later.k, later.v);
  CHECK(std::isfinite(out(0, 0, 3, 0)));
  CHECK_THROWS_AS(attend(in.q, in.v, in.v), heed::Error);
  CHECK_THROWS_AS((heed::EntmaxAttention<double>{{.alpha = 0.5}, {}}(in.q, in.k, in.v)), heed::Error);
  CHECK_THROWS_AS(attend(in.q, in.k, in.v, Tensor<std::uint8_t, 2>(2, 4)), heed::Error);
}

TEST_CASE("Gradients of attention by rows") {
  Inputs in(4, 6, 3, 2);
  Tensor<std::uint8_t, 2> mask(2, 6);
  mask.setConstant(1);
  mask(0, 2) = mask(1, 0) = 0;
  heed::EntmaxAttention<double> attend{{.causal = true}, Tensor<double, 1>(2)};
  attend.head_alpha.setValues({1.4, 1.9});
  const heed::SigmoidAttention sigmoid{{.bias = -1, .normalization = heed::SigmoidNormalization::kSqrt}};
  check_gradients([&](auto&, const auto& q, const auto& k,
                      const auto& v) { return std::make_tuple(attend(q, k, v, mask), sigmoid(q, k, v)); },
                  in.q, in.k, in.v, attend);
}
