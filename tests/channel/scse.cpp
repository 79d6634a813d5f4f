// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/scse.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("scse joins a gate of channels and one of positions") {
  using Combine = heed::Scse<double>::Combine;
  heed::Scse<double> scse{
      {}, {fill<2>({2, 4}), fill<1>({2})}, {fill<2>({4, 2}), fill<1>({4})}, fill<1>({4}), fill<1>({1})};
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  for (const Combine combine : {Combine::kMax, Combine::kAdd}) {
    scse.options.combine = combine;
    check_gradients([&](auto&, const auto& v) { return scse(v); }, x, scse);
  }
  // With all logits 0 both halves are x / 2, a tie that splits the gradient evenly.
  scse.fc2 = {Tensor<double, 2>(4, 2), Tensor<double, 1>(4)};
  scse.fc2.weight.setZero();
  scse.fc2.bias.setZero();
  scse.sse_weight.setZero();
  scse.sse_bias.setZero();
  CHECK(error_of(scse(x), x) < 1e-15);
  scse.options.combine = Combine::kMax;
  CHECK(error_of(scse(x), Tensor<double, 4>(x * 0.5)) < 1e-15);
  CHECK_THROWS_AS(scse(random_tensor<double, 4>({2, 5, 3, 5}, 1)), heed::Error);
}
