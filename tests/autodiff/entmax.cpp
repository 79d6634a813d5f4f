// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/entmax.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

// From the definition: tau by halving.
std::vector<double> by_halving(const double* x, Index n, double alpha) {
  double most = -1e9;
  for (Index i = 0; i < n; ++i) most = std::max(most, (alpha - 1) * x[i]);
  double low = most - 1, high = most;
  std::vector<double> y(static_cast<std::size_t>(n));
  for (int step = 0; step < 200; ++step) {
    const double tau = (low + high) / 2;
    double sum = 0;
    for (Index i = 0; i < n; ++i)
      sum += y[std::size_t(i)] = std::pow(std::max(0.0, (alpha - 1) * x[i] - tau), 1 / (alpha - 1));
    (sum > 1 ? low : high) = tau;
  }
  return y;
}

}  // namespace

TEST_CASE("entmax is what its definition says") {
  for (const Index n : {1, 2, 3, 8, 17, 200}) {
    const auto x = random_tensor<double, 2>({3, n}, unsigned(n), 2);
    for (const double alpha : {1.01, 1.2, 1.5, 1.9, 2.0, 2.5, 4.0}) {
      CAPTURE(n, alpha);
      const Tensor<double, 2> y = heed::entmax(x, alpha);
      for (Index r = 0; r < 3; ++r) {
        const auto want = by_halving(x.data() + r * n, n, alpha);
        for (Index i = 0; i < n; ++i) CHECK(std::abs(y(r, i) - want[std::size_t(i)]) < 1e-9);
      }
    }
  }
}

TEST_CASE("entmax of what is hidden, tied and not a number") {
  Tensor<float, 2> x(4, 3);
  x.setValues({{2, 2, -1}, {-INFINITY, -INFINITY, -INFINITY}, {-INFINITY, 5, -INFINITY}, {0, float(kNaN), 1}});
  for (const double alpha : {1.0, 1.3, 1.5, 2.0}) {
    const Tensor<float, 2> y = heed::entmax(x, alpha);
    CHECK(y(0, 0) == y(0, 1));
    CHECK((y(1, 0) == 0 && y(1, 1) == 0 && y(1, 2) == 0));
    CHECK((y(2, 0) == 0 && y(2, 1) == 1 && y(2, 2) == 0));
    CHECK((std::isnan(y(3, 0)) || std::isnan(y(3, 1))));
  }
  CHECK(heed::entmax(x, 2.0)(0, 2) == 0);
  CHECK_THROWS_AS(heed::entmax(x, 0.9), heed::Error);
  CHECK_THROWS_AS(heed::entmax(x, Tensor<float, 2>(4, 3)), heed::Error);
}

TEST_CASE("Gradients of entmax") {
  auto x = random_tensor<double, 3>({2, 3, 7}, 1);
  for (const double alpha : {1.0, 1.5, 1.7, 2.0}) {
    CAPTURE(alpha);
    check_gradients(
        [&](auto&, const auto& v) {
          return std::make_tuple(heed::entmax(v, alpha), heed::entmax(v.permute({0, 2, 1}), alpha));
        },
        x);
  }
}

TEST_CASE("Gradients of entmax by alpha, also in the limit of softmax") {
  auto x = random_tensor<double, 2>({4, 9}, 2);
  Tensor<double, 2> alpha(4, 1);
  alpha.setValues({{1.2}, {1.5}, {1.9}, {2.4}});
  check_gradients([](auto&, const auto& v, const auto& a) { return heed::entmax(v, a); }, x, alpha);
  const auto g = random_tensor<double, 2>({1, 9}, 3);
  const auto y = heed::entmax(x, 1.0);
  const double above = heed::kernel::entmax_alpha_gradient(heed::entmax(x, 1.001).data(), g.data(), 9, 1.001);
  CHECK(heed::kernel::entmax_alpha_gradient(y.data(), g.data(), 9, 1.0) == Approx(above).epsilon(0.02));
}
