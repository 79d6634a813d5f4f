// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/linear_attention.hpp"

#include "catch.hpp"
#include "heed/linear/cosformer_attention.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::LinearAttention;
using heed::LinearFeatures;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

template <class Weight, class Total>
Tensor<double, 4> naive(const Tensor<float, 4>& q, const Tensor<float, 4>& k, const Tensor<float, 4>& v, bool causal,
                        const Weight& weight, const Total& total) {
  Tensor<double, 4> out(q.dimension(0), q.dimension(1), q.dimension(2), v.dimension(3));
  for (Index b = 0; b < q.dimension(0); ++b)
    for (Index h = 0; h < q.dimension(1); ++h)
      for (Index i = 0; i < q.dimension(2); ++i) {
        double sum = 0;
        std::vector<double> mixed(std::size_t(v.dimension(3)));
        for (Index j = 0; j < (causal ? i + 1 : k.dimension(2)); ++j) {
          double dot = 0;
          for (Index d = 0; d < q.dimension(3); ++d) dot += weight(q(b, h, i, d), k(b, h, j, d), i - j, b, j);
          sum += dot;
          for (Index c = 0; c < v.dimension(3); ++c)
            if (dot != 0) mixed[std::size_t(c)] += dot * double(v(b, h, j, c));
        }
        for (Index c = 0; c < v.dimension(3); ++c) out(b, h, i, c) = mixed[std::size_t(c)] / total(sum);
      }
  return out;
}

double elu_plus_one(double x) { return x > 0 ? x + 1 : std::exp(x); }

}  // namespace

TEST_CASE("linear_attention: the sum over pairs, masked or causal; masked NaN is not seen") {
  for (const Index tokens : {1, 3, 17})
    for (const bool causal : {false, true}) {
      const Index keys = causal ? tokens : tokens + 2;
      const auto q = random_tensor<float, 4>({2, 2, tokens, 5}, 1);
      auto k = random_tensor<float, 4>({2, 2, keys, 5}, 2), v = random_tensor<float, 4>({2, 2, keys, 3}, 3);
      auto mask = heed::test::random_mask<2>({2, keys}, 4, 0.7);
      mask(0, 0) = 0;
      k(0, 1, 0, 2) = v(0, 0, 0, 1) = float(kNaN);
      const LinearAttention attend{{.causal = causal, .eps = 1e-3, .scale = 0.5}};
      const auto got = attend(q, k, v, {.key_mask = heed::const_view(mask)}).out;
      const auto want = naive(
          q, k, v, causal,
          [&](double x, double y, Index, Index b, Index j) {
            return mask(b, j) ? 0.5 * elu_plus_one(x) * elu_plus_one(y) : 0.0;
          },
          [](double sum) { return sum + 1e-3; });
      CHECK(error_of(got, want) < 1e-5);
      check_threads([&](const heed::DeviceRef& device) { return attend(device, q, k, v).out; });
    }
}

TEST_CASE("linear_attention: states carry on, with every feature map; no normalizer; errors") {
  const auto q = random_tensor<float, 4>({1, 2, 30, 5}, 1), k = random_tensor<float, 4>({1, 2, 30, 5}, 2);
  const auto v = random_tensor<float, 4>({1, 2, 30, 3}, 3);
  for (const auto map :
       {LinearFeatures::kEluPlusOne, LinearFeatures::kRelu, LinearFeatures::kExp, LinearFeatures::kIdentity}) {
    const LinearAttention attend{
        {.feature_map = map, .causal = true, .normalize = map != LinearFeatures::kIdentity, .eps = 0.1}};
    const auto whole = attend(q, k, v);
    const auto piece = [](const auto& x, Index from, Index count) { return heed::const_view(x).slice(2, from, count); };
    const auto first = attend(piece(q, 0, 13), piece(k, 0, 13), piece(v, 0, 13));
    const auto second = attend(piece(q, 13, 17), piece(k, 13, 17), piece(v, 13, 17), {}, first.state_kv, first.state_z);
    CHECK(error_of(first.out, piece(whole.out, 0, 13)) < 1e-5);
    CHECK(error_of(second.out, piece(whole.out, 13, 17)) < 1e-5);
    CHECK(error_of(second.state_z, whole.state_z) < 1e-5);
  }
  CHECK(LinearAttention()(q, k, v).state_kv.size() == 0);
  CHECK_THROWS_WITH(LinearAttention()(q, k, v, {}, v, random_tensor<float, 3>({1, 2, 5}, 1)),
                    "linear_attention: a state needs causal attention");
  CHECK_THROWS_WITH(LinearAttention()(q, v, v),
                    "linear_attention: k must have shape (B, H, M, D) as q (1, 2, 30, 5), with M = N if causal, got "
                    "(1, 2, 30, 3)");
}

TEST_CASE("cosformer_attention: weights by the cosine of the distance, the denominator clamped") {
  for (const Index tokens : {1, 3, 17})
    for (const bool causal : {false, true}) {
      const Index keys = causal ? tokens : tokens + 5;
      const auto q = random_tensor<float, 4>({1, 2, tokens, 5}, 1), k = random_tensor<float, 4>({1, 2, keys, 5}, 2);
      const auto v = random_tensor<float, 4>({1, 2, keys, 3}, 3);
      const auto want = naive(
          q, k, v, causal,
          [&](double x, double y, Index distance, Index, Index) {
            return std::max(x, 0.0) * std::max(y, 0.0) *
                   std::cos(std::acos(-1.0) / 2 * double(distance) / double(keys));
          },
          [](double sum) { return std::max(sum, 0.5); });
      CHECK(error_of(heed::CosformerAttention{{.causal = causal, .eps = 0.5}}(q, k, v), want) < 1e-5);
    }
}
