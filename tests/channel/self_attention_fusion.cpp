// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/self_attention_fusion.hpp"

#include "heed/autodiff/attention.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

namespace {

void set(heed::SpatialReductionAttention<double>& op, Index rows, Index columns) {
  op.options = {.num_heads = 2, .sr_ratio = 2};
  for (auto* layer : {&op.q, &op.k, &op.v}) *layer = {fill<2>({4, 4}), {}};
  op.out = {fill<2>({4, 4}), fill<1>({4})};
  op.sr = {fill<4>({4, 4, 2, 2}), fill<1>({4}), {}};
  op.sr_ln = {fill<1>({4}), fill<1>({4})};
  op.pos_row = fill<3>({2, 2, rows});
  op.pos_col = fill<3>({2, 2, columns});
}

}  // namespace

TEST_CASE("spatial_reduction_attention reads fewer keys, with a position term") {
  heed::SpatialReductionAttention<double> op;
  set(op, 2, 3);
  auto x = random_tensor<double, 4>({2, 4, 4, 7}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  // The last column is in no cell of the keys: it changes its own queries alone.
  const Tensor<double, 4> y = op(x);
  x(0, 1, 2, 6) += 1;
  CHECK(op(x)(0, 3, 0, 0) == Approx(y(0, 3, 0, 0)));
  CHECK(op(x)(0, 3, 2, 6) != Approx(y(0, 3, 2, 6)));
  CHECK_THROWS_AS(op(Tensor<double, 4>(1, 4, 1, 7)), heed::Error);
  op.options.sr_ratio = 1;
  CHECK_THROWS_AS(op(x), heed::Error);
  op.pos_row = op.pos_col = {};
  CHECK(std::isfinite(op(x)(1, 0, 0, 0)));
}

TEST_CASE("self_attention_fusion joins two maps") {
  heed::SelfAttentionFusion<double> op;
  op.in = {fill<2>({4, 8}), fill<1>({4})};
  for (auto* norm : {&op.ln_in, &op.ln1, &op.ln2, &op.ln_out}) *norm = {fill<1>({4}), fill<1>({4})};
  set(op.attn, 1, 2);
  op.ffn.fc1 = {fill<2>({6, 4}), fill<1>({6})};
  op.ffn.dw = {fill<4>({6, 1, 3, 3}), fill<1>({6}), {}};
  op.ffn.fc2 = {fill<2>({4, 6}), fill<1>({4})};
  op.ffn.bn1 = random_batch_norm(6);
  op.ffn.bn2 = random_batch_norm(6);
  op.ffn.bn3 = random_batch_norm(4);
  auto a = random_tensor<double, 4>({1, 4, 2, 4}, 1), b = random_tensor<double, 4>({1, 4, 2, 4}, 2);
  heed::test::GradientCheck check;
  check.tolerance = 1e-5;
  check([&](auto&, const auto& x, const auto& y) { return op(x, y); }, a, b, op);
  CHECK_THROWS_AS(op(a, Tensor<double, 4>(1, 4, 2, 3)), heed::Error);
}
