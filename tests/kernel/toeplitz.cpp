// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/toeplitz.hpp"

#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;
namespace kernel = heed::kernel;

TEST_CASE("spread_diagonals and sum_diagonals are each other's transpose") {
  for (const Index rows : {1, 3, 17, 128, 129, 300})
    for (const Index columns : {1, 3, 17, 63}) {
      const Index count = rows + columns - 1, stride = columns + 2;
      const auto values = random_tensor<double, 1>({count}, 1);
      Tensor<double, 2> out(rows, stride);
      out.setConstant(heed::test::kNaN);
      kernel::spread_diagonals(values.data(), rows, columns, out.data(), stride);
      bool right = true;
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < columns; ++j) right &= out(i, j) == values(j - i + rows - 1);
        right &= std::isnan(out(i, columns)) && std::isnan(out(i, columns + 1));
      }
      CHECK(right);

      const auto x = random_tensor<double, 2>({rows, stride}, 2);
      std::vector<double> run(std::size_t(columns + 128)), sums(std::size_t(count), 1.0);
      kernel::sum_diagonals(x.data(), stride, rows, columns, run.data(), sums.data());
      double along = 0, across = 0;
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j) along += x(i, j) * out(i, j);
      for (Index k = 0; k < count; ++k) across += (sums[std::size_t(k)] - 1) * values(k);
      CHECK(along == Approx(across).margin(1e-9));
    }
}
