// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/attention_map_gating.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("attention_map_gating gates one map by another") {
  heed::AttentionMapGating<double> op{
      {fill<2>({1, 3}), fill<1>({1})}, random_batch_norm(1), {fill<2>({1, 3}), fill<1>({1})}};
  auto a = random_tensor<double, 4>({2, 3, 3, 4}, 1), d = random_tensor<double, 4>({2, 3, 3, 4}, 2);
  check_gradients(
      [&](auto&, const auto& u, const auto& v) {
        const auto result = op(u, v);
        return std::make_tuple(result.out, result.attention);
      },
      a, d, op);
  CHECK_THROWS_AS(op(a, random_tensor<double, 4>({2, 3, 4, 3}, 2)), heed::Error);
}
