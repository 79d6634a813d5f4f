// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/decay_matrix.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Products of decays, with their gradient, zeros included") {
  for (const Index n : {1, 2, 17}) {
    auto x = random_tensor<double, 3>({2, 3, n}, 1);
    if (n > 2) x(1, 2, 1) = 0;
    const auto out = heed::decay_matrix(Eigen::DefaultDevice(), x);
    for (Index u = 0; u <= n; ++u)
      for (Index s = 0; s <= n; ++s) {
        double product = u >= s;
        for (Index t = s; t < u; ++t) product *= x(1, 2, t);
        CHECK(out(1, 2, u, s) == Approx(product).margin(1e-12));
      }
    check_gradients([](auto&, const auto& v) { return heed::decay_matrix(Eigen::DefaultDevice(), v); }, x);
  }
}
