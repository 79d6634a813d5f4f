// SPDX-License-Identifier: Apache-2.0
#include "heed/dual/dual_mix_block.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::DualMixBlock;
using heed::Index;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

heed::ProjectedAttention<double> attention(Index c, Index inner) {
  return {{fill<2>({inner, c}), fill<1>({inner})},
          {fill<2>({inner, c}), fill<1>({inner})},
          {fill<2>({inner, c}), fill<1>({inner})},
          {fill<2>({c, inner}), fill<1>({c})}};
}

DualMixBlock<double> block(Index c, Index inner) {
  DualMixBlock<double> op;
  op.mix.options.num_heads = 2;
  op.mix.channel.gamma = fill<1>({1});
  op.mix.spatial.conv.weight = fill<4>({1, 2, 3, 3});
  op.mix.spatial_attn = attention(c, inner);
  op.mix.channel_attn = attention(c, inner);
  op.mix.ln = {fill<1>({c}), fill<1>({c})};
  op.mlp = {{fill<2>({3, c}), fill<1>({3})}, {fill<2>({c, 3}), fill<1>({c})}};
  op.ln = {fill<1>({c}), fill<1>({c})};
  op.back = attention(c, inner);
  return op;
}

}  // namespace

TEST_CASE("dual_mix_block: one token gives every position the same; errors") {
  auto op = block(4, 2);
  const auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1), pos = random_tensor<double, 4>({2, 4, 3, 5}, 2);
  const auto got = op(random_tensor<double, 3>({2, 1, 4}, 3), x, pos);
  for (Index c = 0; c < 4; ++c) CHECK(got.x(1, c, 2, 4) - x(1, c, 2, 4) == Approx(got.x(1, c, 0, 1) - x(1, c, 0, 1)));
  CHECK(heed::const_view(op.mix(random_tensor<double, 3>({2, 17, 4}, 3), x, pos).x).sizes ==
        std::array<Index, 3>{2, 15, 4});
  CHECK_THROWS_AS(op(random_tensor<double, 3>({2, 1, 3}, 3), x, pos), heed::Error);
  op.mix.options.num_heads = 3;
  CHECK_THROWS_AS(op(random_tensor<double, 3>({2, 1, 4}, 3), x, pos), heed::Error);
}

TEST_CASE("Gradients of dual_mix_block") {
  auto op = block(4, 2);
  auto tokens = random_tensor<double, 3>({1, 2, 4}, 3);
  auto x = random_tensor<double, 4>({1, 4, 2, 3}, 1), pos = random_tensor<double, 4>({1, 4, 2, 3}, 2);
  heed::test::check_gradients(
      [&](auto&, const auto& t, const auto& v, const auto& p) {
        const auto y = op(t, v, p);
        return std::make_tuple(y.tokens, y.x);
      },
      tokens, x, pos, op);
}
