// SPDX-License-Identifier: Apache-2.0
#include "heed/block/residual.hpp"

#include "heed/autodiff/pointwise.hpp"
#include "support/finite_differences.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::test::random_tensor;

TEST_CASE("add_product: x + a b with broadcasting") {
  for (const Index width : {1, 3, 17, 63}) {
    const auto x = random_tensor<float, 4>({2, 3, 4, width}, 1), a = random_tensor<float, 4>({2, 3, 4, width}, 2);
    const auto b = random_tensor<float, 3>({3, 1, 1}, 3);
    const auto y = heed::add_product(DeviceRef(), x, a, b);
    double worst = 0;
    for (Index i = 0; i < x.size(); ++i) {
      const double want = double(x.data()[i]) + double(a.data()[i]) * double(b.data()[i / (4 * width) % 3]);
      worst = std::max(worst, std::abs(double(y.data()[i]) - want));
    }
    CHECK(worst < 1e-6);
  }
  CHECK_THROWS_AS(heed::add_product(DeviceRef(), random_tensor<float, 2>({2, 3}, 1), random_tensor<float, 2>({2, 3}, 1),
                                    random_tensor<float, 1>({2}, 1)),
                  heed::Error);
}

TEST_CASE("Gradients of add_product") {
  auto x = random_tensor<double, 3>({2, 3, 5}, 1), a = random_tensor<double, 3>({2, 3, 5}, 2);
  auto b = random_tensor<double, 2>({3, 1}, 3);
  heed::test::check_gradients(
      [](auto&, const auto& u, const auto& v, const auto& w) { return heed::add_product(DeviceRef(), u, v, w); }, x, a,
      b);
}
