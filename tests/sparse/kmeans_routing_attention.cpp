// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/kmeans_routing_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("kmeans_routing_attention of one cluster of all tokens is attention with memory in front") {
  const Index tokens = 30;
  const auto q = random_tensor<float, 4>({1, 2, tokens, 8}, 1), k = random_tensor<float, 4>({1, 2, tokens, 8}, 2),
             v = random_tensor<float, 4>({1, 2, tokens, 5}, 3);
  KmeansRoutingAttention<float> attend{{.window_size = 99, .causal = true, .num_mem_kv = 2}};
  attend.centroids = random_tensor<float, 3>({2, 1, 8}, 4);
  attend.mem_key = random_tensor<float, 4>({2, 1, 2, 8}, 5);
  attend.mem_value = random_tensor<float, 4>({2, 1, 2, 5}, 6);
  Tensor<float, 4> keys(1, 2, tokens + 2, 8), values(1, 2, tokens + 2, 5);
  for (Index h = 0; h < 2; ++h)
    for (Index j = 0; j < tokens + 2; ++j) {
      for (Index d = 0; d < 8; ++d) keys(0, h, j, d) = j < 2 ? attend.mem_key(h, 0, j, d) : k(0, h, j - 2, d);
      for (Index d = 0; d < 5; ++d) values(0, h, j, d) = j < 2 ? attend.mem_value(h, 0, j, d) : v(0, h, j - 2, d);
    }
  const auto mask = random_mask<2>({1, tokens}, 7, 0.7);
  NaiveAttention naive;
  naive.visible = [&](Index, Index, Index i, Index j) {
    return j < 2 || (j - 2 <= i && mask(0, i) != 0 && mask(0, j - 2) != 0);
  };
  CHECK(error_of(attend(q, k, v, {.query_mask = const_view(mask)}).out, naive(q, keys, values).out) < 2e-5);
  check_threads([&](const heed::DeviceRef& device) { return attend(device, q, k, v).out; });
  CHECK(attend(Tensor<float, 4>(0, 2, 3, 8), Tensor<float, 4>(0, 2, 3, 8), Tensor<float, 4>(0, 2, 3, 5)).out.size() ==
        0);
  attend.options.num_mem_kv = 0;
  CHECK_THROWS_AS(attend(q, k, v), Error);

  // Shared queries and keys: the own position only where there is no other.
  attend.options.shared_qk = true;
  const auto shared = attend(q, q, v).out;
  for (Index d = 0; d < 5; ++d) {
    CHECK(std::abs(shared(0, 0, 0, d) - v(0, 0, 0, d)) < 2e-5);
    CHECK(std::abs(shared(0, 0, 1, d) - v(0, 0, 0, d)) < 2e-5);
  }
}

TEST_CASE("kmeans_centroid_update keeps the centroid that has no members") {
  Tensor<float, 4> x(1, 1, 2, 2);
  x.setValues({{{{3, 0}, {0, 2}}}});
  Tensor<float, 3> centroids(1, 3, 2);
  centroids.setValues({{{0.8f, 0.6f}, {-1, 0}, {0.6f, 0.8f}}});
  const auto result = KmeansCentroidUpdate{{.decay = 0}}(x, centroids);
  CHECK(result.assignment(0, 0, 0) == 0);
  CHECK(result.assignment(0, 0, 1) == 2);
  CHECK(std::abs(result.centroids(0, 0, 0) - 1) < 1e-6f);
  CHECK(result.centroids(0, 1, 0) == -1);
  CHECK(std::abs(result.centroids(0, 2, 1) - 1) < 1e-6f);
}
