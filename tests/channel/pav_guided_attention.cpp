// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/pav_guided_attention.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("pav_guided_attention gates channels and parts by a side vector") {
  heed::PavGuidedAttention<double> op{{fill<2>({3, 8}), fill<1>({3})}, fill<1>({2}), fill<1>({1})};
  auto pav = random_tensor<double, 3>({2, 4, 2}, 1);
  for (const Index parts : {1, 4, 7}) {
    auto x = random_tensor<double, 3>({2, 3, parts}, 2);
    check_gradients(
        [&](auto&, const auto& v, const auto& p) {
          const auto result = op(v, p);
          return std::make_tuple(result.out, result.channel, result.spatial);
        },
        x, pav, op);
    const auto result = op(x, pav);
    CHECK(result.out(1, 2, parts - 1) ==
          Approx(x(1, 2, parts - 1) * result.channel(1, 2) * result.spatial(1, parts - 1)));
  }
  CHECK_THROWS_AS(op(random_tensor<double, 3>({1, 3, 4}, 2), pav), heed::Error);
}
