// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/forgery_aware_feature_fusion.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("forgery_aware_feature_fusion: an even map steers nothing, an absent one is not read") {
  heed::ForgeryAwareFeatureFusion<double> fuse{{.num_heads = 2}};
  fuse.bias_mlp = fresh_mlp(2, 5, 2);
  heed::test::fill_projections(fuse.attention, 6, 6, 6);
  fuse.ffn = fresh_mlp(6, 7, 6);
  fuse.norm1 = fresh_norm(6);
  fuse.norm2 = fresh_norm(6);
  const auto x = fresh<3>({2, 3, 6}), context = fresh<3>({2, 3, 6});
  Tensor<double, 4> map(2, 2, 4, 4);
  map.setConstant(0.25);
  const auto even = fuse(x, context, map);
  fuse.options.use_attn_bias = false;
  Tensor<double, 4> poison(2, 2, 4, 4);
  poison.setConstant(heed::test::kNaN);
  CHECK(error_of(fuse(x, context, poison), even) < 1e-13);
  fuse.options.use_attn_bias = true;
  map(1, 0, 2, 3) = 0;  // a probability of 0 is safe; row 0 and column 0 are the class token's
  map(0, 1, 0, 2) = map(0, 1, 2, 0) = heed::test::kNaN;
  const auto steered = fuse(x, context, map);
  CHECK(error_of(steered, even) > 1e-6);
  for (Index c = 0; c < 6; ++c) CHECK(steered(0, 1, c) == Approx(even(0, 1, c)));
  CHECK_THROWS_WITH(fuse(x, context, Tensor<double, 4>(2, 2, 3, 3)), heed::test::contains("attn_map"));
}
