// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/simam.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("simam gates by the distance from the mean of a channel") {
  auto x = random_tensor<double, 4>({2, 3, 3, 5}, 1);
  const heed::SimAm<double> simam{{.e_lambda = 1e-2}};
  check_gradients([&](auto&, const auto& v) { return simam(v); }, x);
  // A flat map has no variance: the energy is 1/2 everywhere, as of a single position.
  const double half = 1 / (1 + std::exp(-0.5));
  Tensor<double, 4> flat(1, 2, 3, 3);
  flat.setConstant(3);
  CHECK(error_of(simam(flat), Tensor<double, 4>(flat * half)) < 1e-12);
  auto one = random_tensor<double, 4>({2, 3, 1, 1}, 1);
  CHECK(error_of(simam(one), Tensor<double, 4>(one * half)) < 1e-15);
  CHECK_THROWS_AS(heed::SimAm<double>{{.e_lambda = 0}}(x), heed::Error);
}
