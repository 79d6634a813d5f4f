// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/skip_cross_attention.hpp"

#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::SkipCrossAttention;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

SkipCrossAttention<double> skip(Index c, Index heads) {
  SkipCrossAttention<double> op{{.height = 3, .width = 2, .num_heads = heads}};
  op.ln1 = {fill<1>({c}), fill<1>({c})};
  op.out = {fill<2>({2 * c, c}), fill<1>({2 * c})};
  op.out_ln = {fill<1>({2 * c}), fill<1>({2 * c})};
  op.ln2 = {fill<1>({2 * c}), fill<1>({2 * c})};
  op.mlp.fc1 = {fill<2>({5, 2 * c}), fill<1>({5})};
  op.mlp.dw = {fill<4>({5, 1, 3, 3}), fill<1>({5})};
  op.mlp.ln = {fill<1>({5}), fill<1>({5})};
  op.mlp.fc2 = {fill<2>({2 * c, 5}), fill<1>({2 * c})};
  return op;
}

}  // namespace

TEST_CASE("skip_cross_attention: its attention and its residuals, errors") {
  auto op = skip(4, 2);
  const auto x1 = random_tensor<double, 3>({2, 6, 4}, 1), x2 = random_tensor<double, 3>({2, 6, 4}, 2);
  op.mlp.fc2.weight.setZero();
  op.mlp.fc2.bias.setZero();
  const auto a = op.ln1(x1), b = op.ln1(x2);
  Tensor<double, 3> mixed(2, 6, 4);
  const auto rows = [](const auto& x) { return heed::split_heads(x, 2).permute({0, 1, 3, 2}); };
  heed::two_sided_attention(heed::DeviceRef(), rows(b), rows(b), rows(a),
                            heed::view(mixed).split(2, 2).permute({0, 2, 3, 1}));
  const Tensor<double, 3> want = op.out_ln(op.out(mixed)) + heed::concat<2>(x1, x2);
  CHECK(error_of(op(x1, x2), want) < 1e-14);
  op.options.width = 3;
  CHECK_THROWS_WITH(
      op(x1, x2), "skip_cross_attention: x1 must have shape (B, height * width, C) with a map of 3 x 3, got (2, 6, 4)");
  op.options = {.height = 3, .width = 2, .num_heads = 3};
  CHECK_THROWS_AS(op(x1, x2), heed::Error);
}

TEST_CASE("Gradients of skip_cross_attention") {
  auto op = skip(4, 2);
  auto x1 = random_tensor<double, 3>({1, 6, 4}, 1), x2 = random_tensor<double, 3>({1, 6, 4}, 2);
  heed::test::check_gradients([&](auto&, const auto& u, const auto& v) { return op(u, v); }, x1, x2, op);
}
