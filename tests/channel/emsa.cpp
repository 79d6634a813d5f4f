// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/emsa.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("emsa reduces keys, mixes heads and normalises what the softmax gave") {
  heed::Emsa<double> op{{.num_heads = 2, .height = 3, .width = 5}};
  for (heed::Linear<double>* layer : {&op.q, &op.k, &op.v, &op.out}) *layer = {fill<2>({4, 4}), fill<1>({4})};
  auto x = random_tensor<double, 3>({2, 15, 4}, 1);
  const Tensor<double, 3> plain = op(x);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);

  op.options.sr_ratio = 2;
  op.sr = {fill<4>({4, 1, 3, 3}), fill<1>({4}), {}};
  op.sr_ln = {fill<1>({4}), fill<1>({4})};
  op.options.transform = true;
  op.mix = {fill<2>({2, 2}), fill<1>({2})};
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  const Tensor<double, 3> y = op(x);
  op.v.bias = op.v.bias + 2.0;  // the weights of a head sum to 0
  CHECK(op(x)(1, 14, 3) == Approx(y(1, 14, 3)));

  op.options.width = 4;
  CHECK_THROWS_AS(op(x), heed::Error);
  CHECK(std::isfinite(plain(0, 0, 0)));
}
