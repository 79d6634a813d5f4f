// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/routing_attention.hpp"

#include "catch.hpp"
#include "heed/sparse/kmeans_routing_attention.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("routing_attention of one cluster of all tokens is attention of normalised tokens") {
  const Index tokens = 33;
  const auto q = random_tensor<float, 4>({2, 2, tokens, 8}, 1), v = random_tensor<float, 4>({2, 2, tokens, 5}, 2);
  const Tensor<float, 1> none;
  const auto normal = layer_norm(q, none, none, 1e-6);
  auto mask = random_mask<2>({2, tokens}, 3, 0.7);
  mask(0, 0) = mask(1, 0) = 1;
  RoutingAttention<float> attend{{.window_size = 50, .causal = true, .scale = 0.3, .beta = 0.5}};
  attend.centroids = random_tensor<float, 3>({2, 1, 8}, 4);
  NaiveAttention naive{.scale = 0.3};
  naive.visible = [&](Index b, Index, Index i, Index j) { return j <= i && mask(b, j) != 0; };
  Tensor<double, 4> want = naive(normal, normal, v).out;
  want = want * (1 / 1.01);
  const auto [out, loss] = attend(q, v, {.key_mask = const_view(mask)});
  CHECK(error_of(out, want) < 2e-5);
  check_threads(
      [&](const heed::DeviceRef& device) { return attend(device, q, v, {.key_mask = const_view(mask)}).out; });
  double sum = 0;
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < tokens; ++i)
        for (Index d = 0; d < 8; ++d)
          sum += std::pow(double(normal(b, h, i, d)) - double(attend.centroids(h, 0, d)), 2);
  CHECK(std::abs(loss(0) - 2 * 0.5 * sum / double(q.size())) < 1e-4);

  // A row that is masked as a whole is even.
  mask.setZero();
  const auto even = attend(q, v, {.key_mask = const_view(mask)}).out;
  double mean = 0;
  for (Index j = 0; j < tokens; ++j) mean += double(v(1, 1, j, 2)) / double(tokens) / 1.01;
  CHECK(std::abs(even(1, 1, 5, 2) - mean) < 1e-5);
  CHECK_THROWS_AS(attend(q, q, v), Error);
}

TEST_CASE("routing_attention: a token in no cluster gets 0") {
  const auto q = random_tensor<float, 4>({1, 1, 20, 4}, 1);
  RoutingAttention<float> attend{{.window_size = 3}};
  attend.centroids = random_tensor<float, 3>({1, 2, 4}, 2);
  const auto out = attend(q, q).out;
  Index zeros = 0;
  for (Index i = 0; i < 20; ++i) zeros += out(0, 0, i, 0) == 0;
  CHECK(zeros >= 14);
}

TEST_CASE("routing_centroid_update with decay 0 is the mean of the members, the count smoothed") {
  const auto x = random_tensor<double, 4>({2, 1, 30, 3}, 1);
  const auto centroids = random_tensor<double, 3>({1, 2, 3}, 2);
  Tensor<double, 2> count(1, 2);
  Tensor<double, 3> sum(1, 2, 3);
  count.setZero();
  sum.setZero();
  const auto result = RoutingCentroidUpdate{{.decay = 0, .eps = 0}}(x, centroids, count, sum);
  CHECK(result.ema_count(0, 0) + result.ema_count(0, 1) == 60);
  for (Index c = 0; c < 2; ++c)
    CHECK(std::abs(result.centroids(0, c, 1) * result.ema_count(0, c) - result.ema_sum(0, c, 1)) < 1e-12);
}
