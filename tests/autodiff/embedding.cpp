// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/embedding.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

TEST_CASE("embedding on a tape") {
  heed::Embedding<double> layer{heed::test::random_tensor<double, 2>({5, 7}, 1)};
  heed::Tensor<std::int32_t, 2> indices(2, 3);
  indices.setValues({{0, 3, 3}, {4, 0, 3}});
  heed::test::check_gradients(
      [&](auto& tape, const auto& table) {
        return std::tuple(heed::embedding(table, indices), layer(tape, Eigen::DefaultDevice(), indices));
      },
      layer.weight);
}
