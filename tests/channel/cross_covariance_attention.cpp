// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/cross_covariance_attention.hpp"

#include "heed/autodiff/cosine_similarity.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("cross_covariance_attention mixes the channels of a head") {
  heed::CrossCovarianceAttention<double> op{{.num_heads = 2}};
  op.q = {fill<2>({6, 6}), fill<1>({6})};
  op.k = {fill<2>({6, 6}), fill<1>({6})};
  op.v = {fill<2>({6, 6}), {}};
  op.out = {fill<2>({6, 6}), fill<1>({6})};
  op.temperature = fill<1>({2});
  auto x = random_tensor<double, 3>({2, 7, 6}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);

  // Another order of the tokens is the same for the weights, and the result follows.
  const Tensor<double, 3> turned = x.reverse(Eigen::array<bool, 3>{false, true, false});
  const Tensor<double, 3> y = op(x), z = op(turned);
  CHECK(z(1, 0, 4) == Approx(y(1, 6, 4)));

  // The length of a query channel does not matter.
  op.q.weight = op.q.weight * 3.0;
  op.q.bias = op.q.bias * 3.0;
  CHECK(op(x)(1, 6, 4) == Approx(y(1, 6, 4)));

  CHECK_THROWS_WITH(op(Tensor<double, 3>(2, 0, 6)),
                    "cross_covariance_attention: x must have tokens, got shape (2, 0, 6)");
  op.options.num_heads = 4;
  CHECK_THROWS_AS(op(x), heed::Error);
}
