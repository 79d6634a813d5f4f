// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/block_sparse_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEMPLATE_TEST_CASE("block_sparse_attention agrees with the definition", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-14;
  for (const bool is_causal : {false, true})
    for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {17, 63}, {200, 130}})
      for (const auto& [qb, kb] : {std::pair<Index, Index>{3, 5}, {16, 16}, {128, 128}}) {
        const auto q = random_tensor<T, 4>({2, 4, n, 6}, 1);
        const auto k = random_tensor<T, 4>({2, 2, m, 6}, 2), v = random_tensor<T, 4>({2, 2, m, 3}, 3);
        const auto mask = random_mask<4>({1, 4, (n + qb - 1) / qb, (m + kb - 1) / kb}, unsigned(qb), 0.4);
        NaiveAttention naive{.scale = 0.7};
        naive.visible = [&, qb = qb, kb = kb](Index, Index h, Index i, Index j) {
          return mask(0, h, i / qb, j / kb) != 0 && (!is_causal || j <= i);
        };
        const auto want = naive(q, k, v);
        const BlockSparseAttention attend{{.q_block_size = qb, .k_block_size = kb, .causal = is_causal, .scale = 0.7}};
        const auto [out, lse] = attend.attend(mask).with_lse(q, k, v);
        CHECK(error_of(out, want.out) < tolerance);
        CHECK(error_of(lse, want.lse) < tolerance);
        CHECK(error_of(attend(q, k, v, mask), out) == 0);
        Eigen::ThreadPool pool(2);
        const Eigen::ThreadPoolDevice device(&pool, 2);
        CHECK(error_of(attend(device, q, k, v, mask), out) == 0);
        Tensor<T, 4> again(2, 4, n, 3);
        attend.attend(mask)(device, q, k, v, into(again));
        CHECK(error_of(again, out) == 0);
      }
}

TEST_CASE("block_sparse_attention names what does not fit") {
  const Tensor<float, 4> q(1, 2, 300, 4), k(1, 2, 5, 4);
  const Tensor<std::uint8_t, 2> mask(2, 1);
  CHECK_THROWS_WITH(BlockSparseAttention()(q, k, k, mask),
                    "block_mask: the block mask must have 3 blocks of 128 along the queries of length 300, got 2");
  CHECK_THROWS_WITH(BlockSparseAttention{{.q_block_size = 0}}(q, k, k, mask),
                    contains("block sizes must be 1 or more"));
}
