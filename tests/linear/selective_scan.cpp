// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/selective_scan.hpp"

#include "support/mixers.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("The selective_scan operator hands its parameters to the block") {
  heed::SelectiveScan<double> scan{{.delta_softplus = true}, fill<2>({3, 2}), fill<1>({3}), fill<1>({3})};
  auto u = random_tensor<double, 3>({1, 3, 4}, 1), delta = random_tensor<double, 3>({1, 3, 4}, 2);
  auto b = random_tensor<double, 3>({1, 2, 4}, 3), c = random_tensor<double, 3>({1, 2, 4}, 4);
  auto z = random_tensor<double, 3>({1, 3, 4}, 5), state = random_tensor<double, 3>({1, 3, 2}, 6);
  check_gradients(
      [&](auto&, const auto&... x) {
        const auto result = scan(x...);
        return std::make_tuple(result.out, result.state);
      },
      u, delta, b, c, z, state, scan);

  // Without parameters that may be absent, and without z and state: s_1 = Delta b u, y_1 = c s_1.
  scan = {{}, scan.A, {}, {}};
  const auto result = scan(u, delta, b, c);
  for (heed::Index e = 0; e < 3; ++e) {
    double want = 0;
    for (heed::Index i = 0; i < 2; ++i) want += c(0, i, 0) * delta(0, e, 0) * b(0, i, 0) * u(0, e, 0);
    CHECK(std::abs(result.out(0, e, 0) - want) < 1e-12);
  }

  const Tensor<double, 3> none(1, 3, 0), none_shared(1, 2, 0);
  CHECK(error_of(scan(none, none, none_shared, none_shared, Tensor<double, 3>(), state).state, state) == 0);
  CHECK_THROWS_AS(scan(u, delta, b, b, z, random_tensor<double, 3>({1, 2, 3}, 1)), heed::Error);
}
