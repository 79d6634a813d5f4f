// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/topk_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("topk_attention mixes the values of the largest scores") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {130, 150}, {90, 40}})
    for (const bool is_causal : {false, true})
      for (const Index top_k : {1, 16, 500}) {
        const auto q = random_tensor<float, 4>({1, 2, n, 5}, 1), k = random_tensor<float, 4>({1, 2, m, 5}, 2),
                   v = random_tensor<float, 4>({1, 2, m, 3}, 3);
        NaiveAttention all{.scale = -0.7};
        all.visible = [&, n = n, m = m](Index, Index, Index i, Index j) { return !is_causal || j <= i + m - n; };
        const auto weights = all(q, k, v).weights;
        NaiveAttention naive = all;
        naive.visible = [&, m = m](Index b, Index h, Index i, Index j) {
          Index before = 0;
          for (Index x = 0; x < m; ++x) before += weights(b, h, i, x) > weights(b, h, i, j);
          return all.visible(b, h, i, j) && before < top_k;
        };
        const TopkAttention attend{{.top_k = top_k, .causal = is_causal, .scale = -0.7}};
        CHECK(error_of(attend(q, k, v), naive(q, k, v).out) < 3e-6);
        check_threads([&](const heed::DeviceRef& device) { return attend(device, q, k, v); });
      }
  const Tensor<float, 4> x(1, 2, 3, 4);
  CHECK_THROWS_AS((TopkAttention{{.top_k = 0}}(x, x, x)), Error);
}
