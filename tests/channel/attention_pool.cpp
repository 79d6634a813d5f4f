// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/attention_pool.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("attention_pool is a mean of tokens") {
  heed::AttentionPool<double> pool{{fill<2>({3, 4}), fill<1>({3})}, fill<1>({3}), fill<1>({1})};
  auto x = random_tensor<double, 3>({2, 5, 4}, 1);
  check_gradients(
      [&](auto&, const auto& v) {
        const auto result = pool(v);
        return std::make_tuple(result.out, result.weights);
      },
      x, pool);
  const auto one = random_tensor<double, 3>({2, 1, 4}, 1);
  CHECK(error_of(pool(one).out, heed::view(one).select(1, 0)) == 0);
  const auto before = pool(x);
  pool.fc2_bias(0) += 2;
  CHECK(error_of(pool(x).weights, before.weights) < 1e-15);
  CHECK_THROWS_AS(pool(Tensor<double, 3>(2, 0, 4)), heed::Error);
}
