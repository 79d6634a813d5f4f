// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/latent_chain_cross_attention.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("latent_chain_cross_attention reads sets: their order does not count, and the first query is a bias") {
  heed::LatentChainCrossAttention<double> read{{.num_heads = 2}};
  heed::test::fill_projections(read.rule, 6, 6, 5);
  heed::test::fill_projections(read.stim, 6, 6, 5);
  read.norm = fresh_norm(6);
  const auto rule = fresh<3>({2, 3, 5}), stim = fresh<3>({2, 17, 5});
  const auto got = read(rule, stim);
  const Eigen::array<bool, 3> turn{false, true, false};
  CHECK(error_of(read(Tensor<double, 3>(rule.reverse(turn)), Tensor<double, 3>(stim.reverse(turn))), got) < 1e-13);
  read.rule.q.weight = fresh<2>({6, 6});
  CHECK(error_of(read(rule, stim), got) == 0);
  CHECK_THROWS_WITH(read(rule, fresh<3>({2, 3, 4})), heed::test::contains("stim.k.weight"));
}
