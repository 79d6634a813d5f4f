// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/eeg_transformer_block.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/channel/multiview_transformer_branch.hpp"
#include "support/channel.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

template <class Block>
void randomize(Block& block, Index c, Index hidden) {
  for (auto* part : {&block.attention.q, &block.attention.k, &block.attention.v, &block.attention.out})
    *part = {fill<2>({c, c}), fill<1>({c})};
  block.ln1 = {fill<1>({c}), fill<1>({c})};
  block.ln2 = {fill<1>({c}), fill<1>({c})};
  block.mlp = {{fill<2>({hidden, c}), fill<1>({hidden})}, {fill<2>({c, hidden}), fill<1>({c})}};
}

}  // namespace

TEST_CASE("eeg_transformer_block has the scale of its full width") {
  heed::EegTransformerBlock<double> block{{.num_heads = 3}};
  randomize(block, 6, 5);
  block.mlp.fc2.weight.setZero();
  block.mlp.fc2.bias.setZero();
  const auto x = random_tensor<double, 3>({2, 17, 6}, 1);
  const auto z = block.ln1(x);
  heed::test::NaiveAttention naive;
  naive.scale = 1 / std::sqrt(6.0);
  using heed::test::apply;
  const auto& a = block.attention;
  const Tensor<double, 3> want =
      x + apply(a.out, heed::test::naive_heads(naive, apply(a.q, z), apply(a.k, z), apply(a.v, z), 3));
  CHECK(error_of(block(x), want) < 1e-13);
  block.options.num_heads = 4;
  CHECK_THROWS_WITH(block(x), "eeg_transformer_block: C = 6 must be a multiple of num_heads = 4");
}

TEST_CASE("Gradients of eeg_transformer_block") {
  heed::EegTransformerBlock<double> block{{.num_heads = 2}};
  randomize(block, 4, 3);
  auto x = random_tensor<double, 3>({2, 3, 4}, 1);
  heed::test::check_gradients([&](auto&, const auto& v) { return block(v); }, x, block);
}

TEST_CASE("multiview_transformer_branch: gradients of two layers and the projector, errors") {
  heed::MultiviewTransformerBranch<double> branch({.num_heads = 2, .num_layers = 2});
  for (auto& layer : branch.layer) randomize(layer, 4, 5);
  branch.head_fc1 = {fill<2>({3, 12}), fill<1>({3})};
  branch.head_ln = {fill<1>({3}), fill<1>({3})};
  branch.head_fc2 = {fill<2>({2, 3}), fill<1>({2})};
  auto x = random_tensor<double, 3>({2, 3, 4}, 1);
  heed::test::check_gradients(
      [&](auto&, const auto& v) {
        const auto y = branch(v);
        return std::make_tuple(y.out, y.z);
      },
      x, branch);
  CHECK_THROWS_AS(branch(random_tensor<double, 3>({2, 4, 4}, 1)), heed::Error);
  CHECK_THROWS_AS(heed::MultiviewTransformerBranch<double>({.num_layers = 0}), heed::Error);
}
