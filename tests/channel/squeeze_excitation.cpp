// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/squeeze_excitation.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("squeeze_excitation scales channels") {
  heed::SqueezeExcitation<double> se;
  se.fc1 = {fill<2>({2, 5}), fill<1>({2})};
  se.fc2 = {fill<2>({5, 2}), fill<1>({5})};
  auto x = random_tensor<double, 4>({2, 5, 3, 7}, 1);
  const Tensor<double, 4> y = se(x);
  for (Index c = 0; c < 5; ++c) CHECK(y(1, c, 2, 6) / x(1, c, 2, 6) == Approx(y(1, c, 0, 1) / x(1, c, 0, 1)));
  check_gradients([&](auto&, const auto& v) { return se(v); }, x, se);
  se.options.pool = heed::SqueezeExcitation<double>::Pool::kMax;
  se.fc1.bias = se.fc2.bias = {};
  check_gradients([&](auto&, const auto& v) { return se(v); }, x, se);
  CHECK_THROWS_WITH(se(Tensor<double, 4>(2, 5, 0, 7)),
                    "squeeze_excitation: x must have positions, got shape (2, 5, 0, 7)");
  CHECK_THROWS_AS(se(Tensor<double, 4>(2, 4, 3, 7)), heed::Error);
}
