// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/guided_attention_layer.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/channel/semantic_guidance.hpp"
#include "heed/dual/guided_dual_attention.hpp"
#include "support/channel.hpp"

using heed::GuidedAttentionKind;
using heed::GuidedAttentionLayer;
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

namespace {

// From 2 c channels to c.
GuidedAttentionLayer<double> layer(GuidedAttentionKind kind, Index c) {
  GuidedAttentionLayer<double> op{{.kind = kind}};
  op.in = {{{fill<4>({c, 2 * c, 3, 3}, 0.3), fill<1>({c})}, random_batch_norm(c)}, fill<1>({1})};
  op.out = {{{fill<4>({c, c, 3, 3}, 0.3), fill<1>({c})}, random_batch_norm(c)}, fill<1>({1})};
  op.position = {{fill<2>({1, c}), fill<1>({1})}, {fill<2>({1, c}), {}}, {fill<2>({c, c}), fill<1>({c})}, fill<1>({1})};
  op.channel.gamma = fill<1>({1});
  return op;
}

}  // namespace

TEST_CASE("guided_attention_layer with gamma 0 is its two convolutions") {
  const auto x = random_tensor<float, 4>({1, 4, 3, 5}, 1);
  heed::GuidedAttentionLayer<float> op;
  op.in.layer.conv.weight = random_tensor<float, 4>({2, 4, 3, 3}, 2);
  op.out.layer.conv.weight = random_tensor<float, 4>({2, 2, 3, 3}, 3);
  for (auto* part : {&op.in, &op.out}) {
    part->layer.bn.mean = part->layer.bn.var = Tensor<float, 1>(2);
    part->layer.bn.mean.setZero();
    part->layer.bn.var.setConstant(1);
    part->slope = Tensor<float, 1>(1);
    part->slope.setConstant(0.25f);
  }
  op.position.q.weight = op.position.k.weight = random_tensor<float, 2>({1, 2}, 4);
  op.position.v.weight = random_tensor<float, 2>({2, 2}, 5);
  op.position.gamma = Tensor<float, 1>(1);
  op.position.gamma.setZero();
  op.channel.gamma = op.position.gamma;
  const auto want = op.out(heed::DeviceRef(), op.in(heed::DeviceRef(), x));
  CHECK(heed::test::error_of(op(x), want) < 1e-6);
  op.options.kind = GuidedAttentionKind::kChannel;
  CHECK(heed::test::error_of(op(x), want) < 1e-6);
  CHECK_THROWS_AS(op(random_tensor<float, 4>({1, 3, 3, 5}, 1)), heed::Error);
  CHECK_THROWS_AS(op(Tensor<float, 4>(1, 4, 0, 5)), heed::Error);
}

TEST_CASE("Gradients of guided_dual_attention and its layers") {
  heed::GuidedDualAttention<double> op{layer(GuidedAttentionKind::kPosition, 2),
                                       layer(GuidedAttentionKind::kChannel, 2),
                                       {fill<4>({2, 4, 3, 3}), fill<1>({2})},
                                       {fill<2>({2, 2}), fill<1>({2})}};
  auto x = random_tensor<double, 4>({1, 4, 3, 2}, 1), s = random_tensor<double, 4>({1, 4, 3, 2}, 2);
  check_gradients([&](auto&, const auto& v, const auto& g) { return op(v, g); }, x, s, op);
  CHECK_THROWS_AS(op(x, random_tensor<double, 4>({1, 4, 2, 2}, 1)), heed::Error);
}
