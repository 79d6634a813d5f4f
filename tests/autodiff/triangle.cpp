// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/triangle.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("lower_triangle keeps what is on and below its diagonal") {
  for (const Index rows : {0, 1, 3, 17})
    for (const Index columns : {1, 4, 17})
      for (const Index diagonal : {-20, -1, 0, 2, 20}) {
        const auto x = random_tensor<float, 2>({rows, columns}, 1);
        const auto got = heed::lower_triangle(heed::DeviceRef(), x, diagonal);
        for (Index i = 0; i < rows; ++i)
          for (Index j = 0; j < columns; ++j) CHECK(got(i, j) == (j <= i + diagonal ? x(i, j) : 0));
      }
}

TEST_CASE("Gradients of lower_triangle") {
  auto x = random_tensor<double, 2>({4, 3}, 1);
  check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(heed::lower_triangle(heed::DeviceRef(), v),
                               heed::lower_triangle(heed::DeviceRef(), v.permute({1, 0}), -1));
      },
      x);
}
