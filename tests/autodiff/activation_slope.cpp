// SPDX-License-Identifier: Apache-2.0
#include "heed/block/activation_slope.hpp"

#include "heed/autodiff/activation.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("The slope of an activation is its derivative, and has one of its own") {
  auto x = random_tensor<double, 2>({3, 17}, 1);
  const auto check = [&](auto slope, auto activation) {
    const Tensor<double, 2> got = heed::activate(slope, x);
    for (heed::Index i = 0; i < x.size(); ++i) {
      Tensor<double, 1> around(2);
      around.setValues({x.data()[i] - 1e-5, x.data()[i] + 1e-5});
      const Tensor<double, 1> y = activation(around);
      CHECK(got.data()[i] == Approx((y(1) - y(0)) / 2e-5).margin(1e-8));
    }
    check_gradients([&](auto&, const auto& v) { return heed::activate(slope, v); }, x);
  };
  check(heed::ReluSlope(), [](const auto& v) { return heed::relu(v); });
  check(heed::SiluSlope(), [](const auto& v) { return heed::silu(v); });
  check(heed::GeluSlope(), [](const auto& v) { return heed::gelu(v); });
}
