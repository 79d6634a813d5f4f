// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/pyramid_squeeze_attention.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("pyramid_squeeze_attention weighs four convolutions") {
  heed::PyramidSqueezeAttention<double> op;
  for (std::size_t i = 0; i < 4; ++i) {
    const Index k = 2 * Index(i % 3) + 1;
    op.conv[i].weight = fill<4>({2, i < 2 ? 4 : 2, k, k});
  }
  op.fc1 = {fill<2>({1, 2}), fill<1>({1})};
  op.fc2 = {fill<2>({2, 1}), fill<1>({2})};
  auto x = random_tensor<double, 4>({2, 4, 3, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  op.options.stride = 2;
  const Tensor<double, 4> y = op(x);
  CHECK(heed::const_view(y).sizes == std::array<Index, 4>{2, 8, 2, 2});
  op.conv[1].weight = fill<4>({2, 4, 2, 2});
  CHECK_THROWS_AS(op(x), heed::Error);
}
