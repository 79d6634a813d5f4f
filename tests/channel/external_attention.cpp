// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/external_attention.hpp"

#include "heed/channel/multi_head_external_attention.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("external_attention reads a memory of slots") {
  heed::ExternalAttention<double> op;
  op.conv1 = {fill<2>({4, 4}), fill<1>({4})};
  op.mk.weight = fill<2>({3, 4});
  op.mv.weight = fill<2>({4, 3});
  op.conv2.weight = fill<2>({4, 4});
  op.bn = heed::test::random_batch_norm(4);
  auto x = random_tensor<double, 4>({2, 4, 3, 3}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  const Tensor<double, 4> y = op(x);
  op.conv1.bias = op.conv1.bias + 1.0;
  CHECK(op(x)(1, 2, 2, 1) == Approx(y(1, 2, 2, 1)));
  op.mv.weight = fill<2>({4, 2});
  CHECK_THROWS_AS(op(x), heed::Error);
}

TEST_CASE("multi_head_external_attention reads a memory that its heads share") {
  heed::MultiHeadExternalAttention<double> op{{.num_heads = 2, .expand = 2}};
  op.in = {fill<2>({8, 4}), fill<1>({8})};
  op.mk = {fill<2>({3, 2}), fill<1>({3})};
  op.mv = {fill<2>({2, 3}), fill<1>({2})};
  op.out = {fill<2>({4, 8}), fill<1>({4})};
  auto x = random_tensor<double, 3>({2, 5, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  const auto one = random_tensor<double, 3>({2, 1, 4}, 2);  // of one token nothing is left
  CHECK(op(one)(0, 0, 1) == Approx(op(one)(1, 0, 1)));
  CHECK_THROWS_AS(op(Tensor<double, 3>(2, 0, 4)), heed::Error);
  op.options.num_heads = 3;
  CHECK_THROWS_AS(op(x), heed::Error);
}
