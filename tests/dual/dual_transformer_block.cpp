// SPDX-License-Identifier: Apache-2.0
#include "heed/dual/dual_transformer_block.hpp"

#include "heed/autodiff.hpp"
#include "support/channel.hpp"

using heed::DualTransformerBlock;
using heed::Index;
using heed::Tensor;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

heed::MixFfn<double> ffn(Index c, Index hidden) {
  return {{fill<2>({hidden, c}), fill<1>({hidden})},
          {fill<2>({c, hidden}), fill<1>({c})},
          {fill<4>({hidden, 1, 3, 3}), fill<1>({hidden})},
          {fill<1>({hidden}), fill<1>({hidden})}};
}

DualTransformerBlock<double> block(Index c, Index heads) {
  DualTransformerBlock<double> op{{.height = 2, .width = 3}};
  for (auto* ln : {&op.ln1, &op.ln2, &op.ln3, &op.ln4}) *ln = {fill<1>({c}), fill<1>({c})};
  op.spatial.q = {fill<2>({3, c}), fill<1>({3})};
  op.spatial.k = {fill<2>({3, c}), fill<1>({3})};
  op.spatial.v = {fill<2>({5, c}), fill<1>({5})};
  op.spatial.out = {fill<2>({c, 5}), fill<1>({c})};
  op.channel.options.num_heads = heads;
  for (auto* part : {&op.channel.q, &op.channel.k, &op.channel.v}) part->weight = fill<2>({c, c});
  op.channel.temperature = fill<1>({heads});
  op.channel.out = {fill<2>({c, c}), fill<1>({c})};
  op.mlp1 = ffn(c, 3);
  op.mlp2 = ffn(c, 2);
  return op;
}

}  // namespace

TEST_CASE("dual_transformer_block: heads of one channel pass their values on; errors") {
  auto op = block(4, 4);
  const auto x = random_tensor<double, 3>({2, 6, 4}, 1);
  op.spatial.out.weight.setZero();
  op.spatial.out.bias.setZero();
  for (auto* layer : {&op.mlp1.fc2, &op.mlp2.fc2}) layer->weight.setZero(), layer->bias.setZero();
  const Tensor<double, 3> want = x + op.channel.out(op.channel.v(op.ln3(x)));
  CHECK(heed::test::error_of(op(x), want) < 1e-13);
  op.channel.options.num_heads = 3;
  CHECK_THROWS_AS(op(x), heed::Error);
  op.options.height = 3;
  CHECK_THROWS_AS(op(x), heed::Error);
}

TEST_CASE("Gradients of dual_transformer_block") {
  auto op = block(4, 2);
  auto x = random_tensor<double, 3>({1, 6, 4}, 1);
  heed::test::check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
}
