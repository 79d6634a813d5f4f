// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/variable_block_sparse_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEMPLATE_TEST_CASE("variable_block_sparse_attention agrees with the definition", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-14;
  const Index n = 30, m = 45;
  const auto q = random_tensor<T, 4>({2, 4, n, 6}, 1);
  const auto k = random_tensor<T, 4>({2, 2, m, 6}, 2), v = random_tensor<T, 4>({2, 2, m, 3}, 3);
  Tensor<std::int32_t, 2> q_lengths(4, 3), k_lengths(2, 4);
  q_lengths.setValues({{10, 10, 10}, {0, 29, 1}, {30, 0, 0}, {7, 3, 20}});
  k_lengths.setValues({{40, 0, 3, 2}, {0, 0, 20, 25}});
  auto mask = random_mask<3>({4, 3, 4}, 4, 0.5);
  for (Index x = 0; x < 4; ++x) mask(3, 1, x) = 0;  // rows that see nothing
  const auto block_of = [](const Tensor<std::int32_t, 2>& lengths, Index head, Index x) {
    Index block = 0;
    for (Index end = lengths(head, 0); end <= x; end += lengths(head, block)) ++block;
    return block;
  };
  NaiveAttention naive;
  naive.visible = [&](Index, Index h, Index i, Index j) {
    return mask(h, block_of(q_lengths, h, i), block_of(k_lengths, h / 2, j)) != 0;
  };
  auto want = naive(q, k, v);
  const VariableBlockSparseAttention attend;
  const auto [out, lse] = attend.attend(mask, q_lengths, k_lengths).with_lse(q, k, v);
  CHECK(error_of(out, want.out) < tolerance);
  CHECK(error_of(lse, want.lse) < tolerance);
  CHECK(lse(0, 3, 8) == -T(kInfinity));
  CHECK(error_of(attend(q, k, v, mask, q_lengths, k_lengths), out) == 0);
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  CHECK(error_of(attend(device, q, k, v, mask, q_lengths, k_lengths), out) == 0);
  Tensor<T, 4> again(2, 4, n, 3);
  attend.attend(mask, q_lengths, k_lengths)(device, q, k, v, into(again));
  CHECK(error_of(again, out) == 0);

  // Uniform blocks of 12 and 13.
  const VariableBlockSparseAttention uniform{{.q_block_size = 12, .k_block_size = 13, .scale = 0.3}};
  naive.scale = 0.3;
  naive.visible = [&](Index, Index h, Index i, Index j) { return mask(h, i / 12, j / 13) != 0; };
  want = naive(q, k, v);
  const auto [uniform_out, uniform_lse] = uniform.attend(mask).with_lse(q, k, v);
  CHECK(error_of(uniform_out, want.out) < tolerance);
  CHECK(error_of(uniform_lse, want.lse) < tolerance);
  CHECK(error_of(uniform(q, k, v, mask), uniform_out) == 0);
  uniform.attend(mask)(device, q, k, v, into(again));
  CHECK(error_of(again, uniform_out) == 0);
}

TEST_CASE("variable_block_sparse_attention names what does not fit") {
  const Tensor<float, 4> q(1, 2, 6, 4), k(1, 2, 5, 4);
  const Tensor<std::uint8_t, 3> mask(2, 1, 1);
  Tensor<std::int32_t, 2> six(2, 1), five(2, 1);
  six.setConstant(6);
  five.setConstant(5);
  const VariableBlockSparseAttention attend;
  CHECK_NOTHROW(attend(q, k, k, mask, six, five));
  CHECK_THROWS_WITH(attend(q, k, k, mask, six, six),
                    "block_mask: the lengths of blocks along the keys must sum to 5, got 6 for head 0");
  CHECK_THROWS_WITH(attend(q, k, k, mask), contains("block sizes must be 1 or more and below 2^31, got 0 and 0"));
}
