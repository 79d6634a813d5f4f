// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/separable_self_attention.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("separable_self_attention of itself and of a context") {
  heed::SeparableSelfAttention<double> op;
  op.q_weight = fill<1>({3});
  op.q_bias = fill<1>({1});
  for (auto* layer : {&op.k, &op.v, &op.out}) *layer = {fill<2>({3, 3}), fill<1>({3})};
  auto x = random_tensor<double, 4>({2, 3, 4, 5}, 1), context = random_tensor<double, 4>({2, 3, 4, 7}, 2);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  check_gradients([&](auto&, const auto& v, const auto& u) { return op(v, u); }, x, context, op);
  check_gradients([&](auto&, const auto& u) { return op(x, u); }, context, op);
  CHECK(op(x, x)(1, 2, 3, 4) == op(x)(1, 2, 3, 4));
  CHECK_THROWS_AS(op(x, Tensor<double, 4>(2, 3, 4, 0)), heed::Error);
}
