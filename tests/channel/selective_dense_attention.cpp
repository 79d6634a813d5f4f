// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/selective_dense_attention.hpp"

#include "heed/autodiff/max_pool.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("selective_dense_attention chooses among levels") {
  heed::SelectiveDenseAttention<double> op({.num_levels = 3, .level = 1});
  op.channel_fc.weight = fill<2>({2, 4});
  op.channel_bn = heed::test::random_batch_norm(2);
  for (std::size_t i = 0; i < 3; ++i) {
    op.channel_head[i] = {fill<2>({4, 2}), fill<1>({4})};
    op.spatial_conv[i].weight = fill<4>({1, 2, 3, 3});
  }
  op.refine.mask_weight = fill<1>({4});
  op.refine.mask_bias = fill<1>({1});
  op.refine.add = {{fill<2>({3, 4}), fill<1>({3})}, {fill<1>({3}), fill<1>({3})}, {fill<2>({4, 3}), fill<1>({4})}};
  auto fine = random_tensor<double, 4>({2, 4, 5, 6}, 1), own = random_tensor<double, 4>({2, 4, 3, 4}, 2);
  auto coarse = random_tensor<double, 4>({2, 4, 1, 2}, 3);
  check_gradients([&](auto&, const auto&... x) { return op(std::vector{x...}); }, fine, own, coarse, op);
  CHECK(heed::const_view(op(std::vector{fine, own, coarse})).sizes == std::array<Index, 4>{2, 4, 3, 4});
  CHECK_THROWS_AS(op(std::vector{fine, own}), heed::Error);
  CHECK_THROWS_AS(heed::SelectiveDenseAttention<double>({.num_levels = 3, .level = 3}), heed::Error);
}
