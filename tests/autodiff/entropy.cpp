// SPDX-License-Identifier: Apache-2.0
#include "heed/block/entropy.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/block/copy_as.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of x log x and of copies under another shape") {
  auto x = random_tensor<double, 2>({3, 4}, 1);
  for (heed::Index i = 0; i < x.size(); ++i) x.data()[i] = 0.2 + std::abs(x.data()[i]);
  check_gradients(
      [](auto& tape, const auto& v) {
        const heed::DeviceRef device;
        (void)tape;
        return std::make_tuple(heed::activate(heed::XLogX(), v), heed::activate(heed::XLogX{0.5}, v),
                               heed::copy_as<1>(device, v.permute({1, 0}), {12}));
      },
      x);
}

TEST_CASE("x log x of 0 is 0") {
  Tensor<float, 2> x(1, 3);
  x.setZero();
  CHECK(heed::activate(heed::XLogX(), x)(0, 1) == 0);
}
