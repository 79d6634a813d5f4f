// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/dual_stream_cross_attention.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("dual_stream_cross_attention: the order of the stimulus does not count, that of the rule stays") {
  heed::DualStreamCrossAttention<double> fuse{{.num_heads = 2}};
  heed::test::fill_projections(fuse.cross, 6, 6, 6);
  fuse.norm_cross = fresh_norm(6);
  fuse.mlp = fresh_mlp(5, 7, 6);
  fuse.mlp.fc2.weight = fresh<2>({5, 7});
  fuse.norm_mlp = fresh_norm(5);
  const auto rule = fresh<3>({2, 3, 6}), stim = fresh<3>({2, 17, 6});
  const auto got = fuse(rule, stim);
  const Tensor<double, 3> turned = stim.reverse(Eigen::array<bool, 3>{false, true, false});
  CHECK(error_of(fuse(rule, turned), got) < 1e-13);
  const Tensor<double, 3> other = rule.reverse(Eigen::array<bool, 3>{false, true, false});
  const Tensor<double, 3> back = fuse(other, stim).reverse(Eigen::array<bool, 3>{false, true, false});
  CHECK(error_of(back, got) < 1e-13);
  fuse.mlp.fc2.bias.setConstant(3);
  heed::test::check_all_used(fuse, [&] { return fuse(rule, stim); });
  CHECK_THROWS_AS(fuse(rule, fresh<3>({1, 2, 6})), heed::Error);
}
