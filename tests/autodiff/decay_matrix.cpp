// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/decay_matrix.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::random_tensor;

TEST_CASE("decay_matrix holds the products of runs of factors") {
  for (const Index n : {0, 1, 3, 17}) {
    const auto x = random_tensor<double, 3>({2, 3, n}, 1);
    const auto y = heed::decay_matrix(Eigen::DefaultDevice(), x);
    for (Index u = 0; u <= n; ++u)
      for (Index s = 0; s <= n; ++s) {
        double want = u >= s ? 1 : 0;
        for (Index r = s; r < u; ++r) want *= x(1, 2, r);
        CHECK(y(1, 2, u, s) == Approx(want));
      }
  }
}

TEST_CASE("Gradients of decay_matrix, of factors 0 too") {
  auto x = random_tensor<double, 3>({2, 2, 5}, 1);
  x(0, 1, 2) = x(1, 0, 0) = 0;
  heed::test::check_gradients([](auto&, const auto& v) { return heed::decay_matrix(Eigen::DefaultDevice(), v); }, x);
}
