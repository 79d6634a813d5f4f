// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/single_stream_fusion_block.hpp"

#include "heed/block/concat.hpp"
#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

namespace {

heed::SingleStreamFusionBlock<double> block(Index rule, Index stim, Index c) {
  heed::SingleStreamFusionBlock<double> b{{.num_heads = 2}};
  b.embed = fresh_linear(c, rule + stim);
  heed::test::fill_projections(b.attention, c, c, c);
  b.norm0 = fresh_norm(c);
  b.norm1 = fresh_norm(c);
  b.mlp = fresh_mlp(c, c, c);
  return b;
}

}  // namespace

TEST_CASE("single_stream_fusion_block is one block over padded features") {
  for (const Index tokens : {1, 3, 17}) {
    const auto b = block(3, 5, 6);
    const auto rule = fresh<3>({2, tokens, 3}), stim = fresh<3>({2, 4, 5});
    // The same sequence as one stream: the other stream is empty.
    Tensor<double, 3> padded(2, tokens + 4, 8);
    padded.setZero();
    for (Index i = 0; i < 2; ++i) {
      for (Index t = 0; t < tokens; ++t)
        for (Index f = 0; f < 3; ++f) padded(i, t, f) = rule(i, t, f);
      for (Index t = 0; t < 4; ++t)
        for (Index f = 0; f < 5; ++f) padded(i, tokens + t, 3 + f) = stim(i, t, f);
    }
    CHECK(error_of(b(rule, stim), b(padded, Tensor<double, 3>(2, 0, 0))) < 1e-13);
  }
  CHECK_THROWS_WITH(block(3, 5, 6)(fresh<3>({2, 1, 3}), fresh<3>({1, 1, 5})),
                    heed::test::contains("single_stream_fusion_block: stim"));
}

TEST_CASE("single_stream_fusion_block uses every parameter") {
  auto b = block(3, 5, 6);
  const auto rule = fresh<3>({1, 3, 3}), stim = fresh<3>({1, 2, 5});
  b.attention.k.bias = Tensor<double, 1>();  // moves all scores of a query alike
  b.mlp.fc2.bias.setConstant(2);             // above the last ReLU
  heed::test::check_all_used(b, [&] { return b(rule, stim); });
}
