// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/efficient_attention.hpp"

#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("efficient_attention normalises keys over positions and queries over channels") {
  heed::EfficientAttention<double> op{{.num_heads = 2}};
  op.q = {fill<2>({4, 3}), fill<1>({4})};
  op.k = {fill<2>({4, 3}), fill<1>({4})};
  op.v = {fill<2>({6, 3}), fill<1>({6})};
  op.out = {fill<2>({3, 6}), {}};
  auto x = random_tensor<double, 4>({2, 3, 3, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  const Tensor<double, 4> y = op(x);
  op.k.bias = op.k.bias + 5.0;
  CHECK(op(x)(1, 2, 2, 1) == Approx(y(1, 2, 2, 1)));
  op.options.residual = false;
  CHECK(op(x)(1, 2, 2, 1) == Approx(y(1, 2, 2, 1) - x(1, 2, 2, 1)));
  op.options.num_heads = 4;
  CHECK_THROWS_AS(op(x), heed::Error);
}
