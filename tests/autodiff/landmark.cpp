// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/landmark.hpp"

#include "heed/self/landmark_attention.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("Gradients of landmark attention") {
  auto q = random_tensor<double, 4>({2, 2, 9, 3}, 1), k = random_tensor<double, 4>({2, 2, 9, 3}, 2);
  auto v = random_tensor<double, 4>({2, 2, 9, 2}, 3);
  Tensor<std::uint8_t, 2> marks(2, 9);
  marks.setZero();
  marks(0, 2) = marks(0, 5) = marks(0, 6) = marks(1, 0) = marks(1, 8) = 1;
  heed::test::check_gradients(
      [&](auto&, const auto& a, const auto& b, const auto& c) { return heed::LandmarkAttention()(a, b, c, marks); }, q,
      k, v);
}
