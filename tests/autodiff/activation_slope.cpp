// SPDX-License-Identifier: Apache-2.0
#include "heed/block/activation_slope.hpp"

#include "heed/autodiff/activation.hpp"
#include "support/finite_differences.hpp"

TEST_CASE("Gradients of the slopes of activations") {
  auto x = heed::test::random_tensor<double, 2>({3, 17}, 1, 2);
  heed::test::check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(heed::activate(heed::GeluSlope(), v), heed::activate(heed::SiluSlope(), v),
                               heed::activate(heed::ReluSlope(), v));
      },
      x);
}
