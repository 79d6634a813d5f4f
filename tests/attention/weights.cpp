// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/weights.hpp"

#include <cstring>

#include "catch.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::NaiveAttention;
using heed::test::random_mask;
using heed::test::random_tensor;

namespace {

template <class T>
Tensor<T, 4> poisoned(Index a, Index b, Index c, Index d) {
  Tensor<T, 4> x(a, b, c, d);
  x.setConstant(T(kNaN));
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("attention_weights are those of the definition", "", float, double) {
  const double tolerance = std::same_as<TestType, float> ? 1e-5 : 1e-13;
  for (const auto& [B, H, Hk, N, M, D] : std::vector<std::array<Index, 6>>{{1, 1, 1, 1, 1, 1},
                                                                           {2, 4, 2, 17, 63, 8},
                                                                           {1, 40, 1, 3, 33, 5},
                                                                           {1, 2, 2, 63, 17, 16},
                                                                           {1, 3, 1, 100, 130, 3},
                                                                           {1, 2, 1, 4, 0, 3}}) {
    CAPTURE(N, M);
    const Index first = M - N;
    const auto q = random_tensor<TestType, 4>({B, H, N, D}, 1), k = random_tensor<TestType, 4>({B, Hk, M, D}, 2);
    const auto bias = random_tensor<TestType, 4>({1, H, N, M}, 3);
    const auto sink = random_tensor<TestType, 1>({H}, 4);
    NaiveAttention naive;
    auto weights = poisoned<TestType>(B, H, N, M);
    heed::attention_weights(Eigen::DefaultDevice(), heed::softmax_attention({.scale = 0.4}), q, k, weights);
    naive.scale = 0.4;
    CHECK(error_of(weights, naive(q, k, k).weights) < tolerance);

    const auto attend = heed::softmax_attention(heed::softcap(2) | heed::bias(bias) | heed::sink_logit(sink),
                                                heed::causal() && heed::window_left(20));
    weights = poisoned<TestType>(B, H, N, M);
    heed::attention_weights(Eigen::DefaultDevice(), attend, q, k, weights);
    naive.scale = std::nullopt;
    naive.visible = [&](Index, Index, Index i, Index j) { return j <= i + first && i + first - j <= 20; };
    naive.score = [&](double s, Index, Index h, Index i, Index j) {
      return 2 * std::tanh(s / 2) + double(bias(0, h, i, j));
    };
    naive.extra_logit = [&](Index, Index h) { return double(sink(h)); };
    CHECK(error_of(weights, naive(q, k, k).weights) < tolerance);
  }
}

TEST_CASE("attention_weights mix the values as the attention does") {
  const auto q = random_tensor<double, 3>({4, 30, 8}, 1), k = random_tensor<double, 3>({2, 50, 8}, 2);
  const auto v = random_tensor<double, 3>({2, 50, 5}, 3);
  const auto attend = heed::softmax_attention(heed::causal());
  const auto weights = heed::attention_weights(attend, q, k);
  const auto out = attend(q, k, v);
  Tensor<double, 3> mixed(4, 30, 5);
  mixed.setZero();
  for (Index h = 0; h < 4; ++h)
    for (Index i = 0; i < 30; ++i)
      for (Index j = 0; j < 50; ++j)
        for (Index d = 0; d < 5; ++d) mixed(h, i, d) += weights(h, i, j) * v(h / 2, j, d);
  CHECK(error_of(out, mixed) < 1e-13);
}

TEST_CASE("attention_weights: a hidden key has 0, NaN or not, and a row that sees none is 0") {
  auto q = random_tensor<float, 4>({1, 2, 20, 4}, 1), k = random_tensor<float, 4>({1, 1, 40, 4}, 2);
  auto mask = random_mask<4>({1, 1, 20, 40}, 3, 0.5);
  for (Index j = 0; j < 40; ++j) mask(0, 0, 7, j) = 0;
  for (Index i = 0; i < 20; ++i) mask(0, 0, i, 11) = 0;
  for (Index d = 0; d < 4; ++d) k(0, 0, 11, d) = float(kNaN);
  q(0, 1, 3, 0) = float(kNaN);  // a row of its own doing
  const auto weights = heed::attention_weights(heed::softmax_attention(heed::boolean_mask(mask)), q, k);
  for (Index h = 0; h < 2; ++h)
    for (Index i = 0; i < 20; ++i) {
      float sum = 0;
      for (Index j = 0; j < 40; ++j) {
        if (!mask(0, 0, i, j)) CHECK(weights(0, h, i, j) == 0);
        sum += weights(0, h, i, j);
      }
      if (h == 1 && i == 3) {
        CHECK(std::isnan(sum));
      } else {
        CHECK(std::abs(sum - (i == 7 ? 0.f : 1.f)) < 1e-5f);
      }
    }
}

TEST_CASE("attention_weights: strides, storage and threads change nothing", "[threads]") {
  const auto q = random_tensor<float, 4>({2, 9, 4, 8}, 1),
             k = random_tensor<float, 4>({2, 37, 2, 8}, 2);  // (B, N, H, D)
  const auto q_heads = heed::const_view(q).permute({0, 2, 1, 3}), k_heads = heed::const_view(k).permute({0, 2, 1, 3});
  const auto attend = heed::softmax_attention(heed::causal());
  const auto weights = heed::attention_weights(attend, q_heads, k_heads);
  CHECK(error_of(weights, [&] {
          NaiveAttention naive;
          naive.visible = [](Index, Index, Index i, Index j) { return j <= i + 28; };
          return naive(q_heads, k_heads, k_heads).weights;
        }()) < 1e-5);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const auto more = heed::attention_weights(Eigen::ThreadPoolDevice(&pool, threads), attend, q_heads, k_heads);
    CHECK(std::memcmp(more.data(), weights.data(), sizeof(float) * std::size_t(weights.size())) == 0);
  }
  Tensor<float, 4> swapped(2, 4, 37, 9);
  heed::attention_weights(Eigen::DefaultDevice(), attend, q_heads, k_heads, heed::view(swapped).permute({0, 1, 3, 2}));
  CHECK(error_of(heed::view(swapped).permute({0, 1, 3, 2}), weights) == 0);
}

TEST_CASE("attention_weights: errors") {
  const Tensor<float, 4> q(2, 4, 5, 8), k(2, 2, 7, 8);
  const auto attend = heed::softmax_attention();
  CHECK_THROWS_WITH(heed::attention_weights(attend, q, Tensor<float, 4>(2, 2, 7, 9)),
                    "attention_weights: k must have shape (B, Hk, M, D) = (2, Hk, M, 8), got (2, 2, 7, 9)");
  CHECK_THROWS_WITH(heed::attention_weights(attend, q, Tensor<float, 4>(2, 3, 7, 8)),
                    "attention_weights: the number of heads of q, 4, must be a multiple of that of k, 3");
  CHECK_THROWS_WITH(heed::attention_weights(attend, Tensor<float, 2>(3, 0), Tensor<float, 2>(3, 0)),
                    "attention_weights: D must be 1 or more, got 0");
  Tensor<float, 4> weights(2, 4, 5, 6);
  CHECK_THROWS_WITH(heed::attention_weights(Eigen::DefaultDevice(), attend, q, k, weights),
                    "attention_weights: weights must have shape (B, H, N, M) = (2, 4, 5, 7), got (2, 4, 5, 6)");
  CHECK_THROWS_WITH(heed::attention_weights(heed::softmax_attention({.scale = kInfinity}), q, k),
                    "attention_weights: the scale must be finite, got inf");
  CHECK_THROWS_WITH(heed::attention_weights(heed::softmax_attention({.scale = 1e300}), q, k),
                    "attention_weights: the scale must be finite, got 1e+300");
}
