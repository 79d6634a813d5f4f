// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/outlook_attention.hpp"

#include "heed/autodiff/window_mix.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("outlook_attention mixes windows by weights of their centres") {
  heed::OutlookAttention<double> op{{.num_heads = 2}};
  op.v = {fill<2>({4, 4}), fill<1>({4})};
  op.attn = {fill<2>({162, 4}), fill<1>({162})};
  op.out = {fill<2>({4, 4}), fill<1>({4})};
  auto x = random_tensor<double, 4>({1, 3, 5, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x);
  op.options.stride = 2;  // the last cells have one row, or one column
  op.v.bias = {};
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op.v, op.out);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x);

  // Windows of one position: the values themselves.
  op.options = {.num_heads = 2, .kernel_size = 1, .padding = 0};
  op.attn = {fill<2>({2, 4}), fill<1>({2})};
  const Tensor<double, 4> y = op(x), z = op.out(op.v(x));
  CHECK(y(0, 2, 4, 3) == Approx(z(0, 2, 4, 3)));
  op.options.padding = 1;
  CHECK_THROWS_AS(op(x), heed::Error);
}
