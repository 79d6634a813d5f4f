// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/softmax_scan.hpp"

#include "support/finite_differences.hpp"

using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of softmax_scan") {
  auto g = random_tensor<double, 3>({2, 3, 7}, 1, 3);
  auto v = random_tensor<double, 4>({2, 3, 7, 5}, 2);
  for (const bool causal : {true, false})
    check_gradients(
        [&](auto&, const auto& a, const auto& b) { return heed::softmax_scan(Eigen::DefaultDevice(), a, b, causal); },
        g, v);
}

TEST_CASE("Gradients of softmax_scan where scores are far apart or -infinity") {
  auto g = random_tensor<double, 3>({1, 1, 6}, 1);
  auto v = random_tensor<double, 4>({1, 1, 6, 2}, 2), d_out = random_tensor<double, 4>({1, 1, 6, 2}, 3);
  g(0, 0, 0) = g(0, 0, 3) = -heed::test::kInfinity;
  g(0, 0, 4) = 1e4;
  for (const bool causal : {true, false}) {
    heed::Tape<double> tape;
    const auto out = heed::softmax_scan(Eigen::DefaultDevice(), tape.input(g), tape.input(v), causal);
    tape.backward(out, d_out);
    const auto d_g = tape.grad(g);
    const auto d_v = tape.grad(v);
    for (heed::Index j = 0; j < 6; ++j) CHECK(std::isfinite(d_g(0, 0, j)));
    CHECK(d_g(0, 0, 3) == 0);
    CHECK(d_v(0, 0, 3, 1) == 0);
    CHECK(d_v(0, 0, 4, 1) ==
          Approx(d_out(0, 0, 4, 1) + d_out(0, 0, 5, 1) +
                 (causal ? 0.0 : d_out(0, 0, 0, 1) + d_out(0, 0, 1, 1) + d_out(0, 0, 2, 1) + d_out(0, 0, 3, 1))));
  }
}
