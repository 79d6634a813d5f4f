// SPDX-License-Identifier: Apache-2.0
#include "heed/block/deviation_norm.hpp"

#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/pointwise.hpp"
#include "heed/autodiff/reduce.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("DeviationNorm adds eps to the standard deviation") {
  heed::DeviationNorm<double> norm{random_tensor<double, 1>({17}, 1), random_tensor<double, 1>({17}, 2), 0.3};
  auto x = random_tensor<double, 3>({2, 3, 17}, 3);
  for (Index c = 0; c < 17; ++c) x(1, 2, c) = 4;  // a constant row gives the bias
  const auto got = norm(heed::DeviceRef(), x);
  Tensor<double, 3> want(2, 3, 17);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 3; ++n) {
      double mean = 0, square = 0;
      for (Index c = 0; c < 17; ++c) mean += x(b, n, c) / 17;
      for (Index c = 0; c < 17; ++c) square += (x(b, n, c) - mean) * (x(b, n, c) - mean) / 17;
      for (Index c = 0; c < 17; ++c)
        want(b, n, c) = norm.weight(c) * (x(b, n, c) - mean) / (std::sqrt(square) + 0.3) + norm.bias(c);
    }
  CHECK(error_of(got, want) < 1e-14);

  auto rows = random_tensor<double, 3>({2, 2, 5}, 4);
  heed::DeviationNorm<double> small{random_tensor<double, 1>({5}, 5), random_tensor<double, 1>({5}, 6), 0.1};
  check_gradients([&](auto&, const auto& v) { return small(heed::DeviceRef(), v); }, rows, small);
}
