// SPDX-License-Identifier: Apache-2.0
#include "heed/dual/dual_branch_conformer.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/blend.hpp"
#include "support/channel.hpp"

using heed::BranchFusion;
using heed::DualBranchConformer;
using heed::Index;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

namespace {

// Of two electrodes and D = 2.
DualBranchConformer<double> conformer(BranchFusion fusion, Index patches, bool drop_last) {
  DualBranchConformer<double> op({.patch_size = 3,
                                  .num_heads = 1,
                                  .num_time_layers = 1,
                                  .num_space_layers = 0,
                                  .fusion = fusion,
                                  .drop_last = drop_last});
  op.time_mix.weight = fill<2>({2, 2});
  op.time_mix_bn = random_batch_norm(2);
  op.time_conv.weight = fill<3>({2, 1, 5});
  op.time_conv_bn = random_batch_norm(2);
  op.space_conv = {fill<3>({3, 1, 25}), fill<1>({3})};
  op.space_fc = {fill<2>({2, 3}), fill<1>({2})};
  if (patches > 0) {
    op.pos_time = fill<2>({patches, 2});
    op.pos_space = fill<2>({2, 2});
  }
  auto& block = op.time[0];
  for (auto* part : {&block.attention.q, &block.attention.k, &block.attention.v, &block.attention.out})
    *part = {fill<2>({2, 2}), fill<1>({2})};
  block.ln1 = {fill<1>({2}), fill<1>({2})};
  block.ln2 = {fill<1>({2}), fill<1>({2})};
  block.mlp = {{fill<2>({3, 2}), fill<1>({3})}, {fill<2>({2, 3}), fill<1>({2})}};
  op.pool = {{fill<2>({2, 2}), fill<1>({2})}, fill<1>({2}), fill<1>({1})};
  op.gate = {fill<2>({2, 4}), fill<1>({2})};
  return op;
}

}  // namespace

TEST_CASE("dual_branch_conformer: gradients of its fusions") {
  for (const auto fusion : {BranchFusion::kAttention, BranchFusion::kMean, BranchFusion::kGate}) {
    auto op = conformer(fusion, fusion == BranchFusion::kMean ? 0 : 2, true);
    auto x = random_tensor<double, 3>({2, 2, 8}, 1);  // a sample dropped, and one behind the last patch
    heed::test::check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  }
}

TEST_CASE("dual_branch_conformer: the last sample, and errors") {
  const auto op = conformer(BranchFusion::kGate, 0, false);
  const auto x = random_tensor<double, 3>({1, 2, 9}, 1);
  CHECK(heed::const_view(op(x)).sizes == std::array<Index, 2>{1, 2});
  const auto with_pos = conformer(BranchFusion::kMean, 3, true);
  CHECK_THROWS_AS(with_pos(x), heed::Error);  // 8 samples are left: two patches
  CHECK_THROWS_WITH(
      conformer(BranchFusion::kMean, 0, true)(random_tensor<double, 3>({1, 2, 3}, 1)),
      "dual_branch_conformer: x must have electrodes and a patch of 3 samples or more, got shape (1, 2, 3)");
}
