// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/uncertainty_loss_weighting.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/reduce.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("uncertainty_loss_weighting is its definition") {
  for (const heed::Index k : {1, 3, 17}) {
    heed::UncertaintyLossWeighting<double> join{random_tensor<double, 1>({k}, 1)};
    auto x = random_tensor<double, 1>({k}, 2);
    double want = 0;
    for (heed::Index i = 0; i < k; ++i) want += 0.5 * (std::exp(-join.w(i)) * x(i) + join.w(i));
    const auto got = join(x);
    REQUIRE(got.size() == 1);
    CHECK(std::abs(got(0) - want) < 1e-12);
    heed::test::check_gradients([&](auto&, const auto& v) { return join(v); }, x, join);
    CHECK_THROWS_AS(join(random_tensor<double, 1>({k + 1}, 2)), heed::Error);
  }
}
