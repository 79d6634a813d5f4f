// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/neighborhood.hpp"

#include "heed/neighborhood/neighborhood_attention.hpp"
#include "support/finite_differences.hpp"

using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of attend_neighborhoods: of q, k, v, extra keys and the bias table") {
  heed::NeighborhoodAttention<double, 2> attend{{.kernel_size = {3, 3}, .dilation = {2, 1}}};
  auto q = random_tensor<double, 5>({1, 6, 5, 2, 3}, 1), k = random_tensor<double, 5>({1, 6, 5, 1, 3}, 2);
  auto v = random_tensor<double, 5>({1, 6, 5, 1, 2}, 3);
  auto k_extra = random_tensor<double, 4>({1, 2, 1, 3}, 4), v_extra = random_tensor<double, 4>({1, 2, 1, 2}, 5);
  attend.rpb = random_tensor<double, 3>({2, 5, 5}, 6);
  check_gradients(
      [&](auto&, const auto& a, const auto& b, const auto& c, const auto& d, const auto& e) {
        const auto result = attend(a, b, c, d, e);
        return std::tuple(result.out, result.lse);
      },
      q, k, v, k_extra, v_extra, attend);
}
