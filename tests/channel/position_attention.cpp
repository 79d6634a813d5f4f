// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/position_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("position_attention mixes positions beside the map") {
  heed::PositionAttention<double> op;
  op.q = {fill<2>({2, 5}), fill<1>({2})};
  op.k = {fill<2>({2, 5}), fill<1>({2})};
  op.v = {fill<2>({5, 5}), fill<1>({5})};
  op.gamma = fill<1>({1});
  auto x = random_tensor<double, 4>({2, 5, 3, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);

  // Other positions in another order: the result follows.
  Tensor<double, 4> turned = x.reverse(Eigen::array<bool, 4>{false, false, true, true});
  const Tensor<double, 4> y = op(x), z = op(turned);
  CHECK(z(1, 3, 0, 1) == Approx(y(1, 3, 2, 2)));

  // k.bias shifts all scores of a query alike, and gamma = 0 is the map itself.
  op.k.bias = op.k.bias + 3.0;
  CHECK(op(x)(0, 2, 1, 1) == Approx(y(0, 2, 1, 1)));
  op.gamma.setZero();
  CHECK(op(x)(0, 2, 1, 1) == x(0, 2, 1, 1));

  CHECK_THROWS_WITH(op(Tensor<double, 4>(2, 5, 0, 7)),
                    "position_attention: x must have positions, got shape (2, 5, 0, 7)");
  op.k.weight = fill<2>({3, 5});
  CHECK_THROWS_AS(op(x), heed::Error);
}
