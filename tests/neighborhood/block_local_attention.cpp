// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/block_local_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::test::error_of;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

TEST_CASE("block_local_attention: short last blocks, reaches, one block of all") {
  for (const Index tokens : {0, 1, 17, 100})
    for (const Index size : {1, 3, 16, 500})
      for (const auto& [back, forward, causal] : {std::tuple(Index(0), Index(0), false), {1, 0, true}, {2, 3, false}}) {
        const heed::BlockLocalAttention attend{
            {.block_size = size, .look_back = back, .look_forward = forward, .causal = causal, .scale = 0.7}};
        const auto q = random_tensor<float, 4>({1, 2, tokens, 3}, 1), k = random_tensor<float, 4>({1, 2, tokens, 3}, 2);
        const auto v = random_tensor<float, 4>({1, 2, tokens, 5}, 3);
        NaiveAttention naive;
        naive.scale = 0.7;
        naive.visible = [&, b = back, f = forward, c = causal](Index, Index, Index i, Index j) {
          return i / size - b <= j / size && j / size <= i / size + f && (!c || j <= i);
        };
        CHECK(error_of(attend(q, k, v), naive(q, k, v).out) < 1e-6);
      }
}

TEST_CASE("block_local_attention: errors") {
  const auto x = random_tensor<float, 4>({1, 1, 8, 4}, 1), shorter = random_tensor<float, 4>({1, 1, 7, 4}, 1);
  CHECK_THROWS_WITH(heed::BlockLocalAttention{}(x, x, x), "block_local_attention: block_size must be 1 or more, got 0");
  const heed::BlockLocalAttention attend{{.block_size = 2}};
  CHECK_THROWS_WITH(attend(x, shorter, shorter),
                    "block_local_attention: q and k must have as many tokens, got 8 and 7");
}
