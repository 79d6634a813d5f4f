// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/entmax.hpp"

#include <algorithm>
#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;
namespace kernel = heed::kernel;

namespace {

template <class T>
std::vector<T> entmax(const std::vector<T>& x, double alpha) {
  std::vector<T> y(x.size() + 1, T(kNaN));
  kernel::entmax_row(x.data(), Index(x.size()), alpha, y.data());
  CHECK(std::isnan(y.back()));
  y.pop_back();
  return y;
}
template <class T>
std::vector<T> row(Index width, unsigned seed) {
  const auto x = random_tensor<T, 1>({width}, seed, 2);
  return {x.data(), x.data() + width};
}

}  // namespace

TEMPLATE_TEST_CASE("entmax_row: one threshold, sum 1, order and shifts", "", float, double) {
  using T = TestType;
  const double near = std::same_as<T, float> ? 2e-5 : 1e-12;
  for (const Index width : {1, 2, 3, 17, 63, 200})
    for (const double alpha : {1.0, 1.2, 1.5, 1.8, 2.0, 3.0}) {
      CAPTURE(width, alpha);
      const auto x = row<T>(width, 1), y = entmax(x, alpha);
      double sum = 0;
      for (const T p : y) sum += double(p);
      CHECK(sum == Approx(1).margin(near));
      // (alpha - 1) x - y^(alpha - 1) is the threshold wherever y > 0, and no smaller elsewhere.
      double threshold = kNaN;
      for (std::size_t i = 0; i < x.size() && alpha > 1; ++i) {
        const double at = (alpha - 1) * double(x[i]) - std::pow(double(y[i]), alpha - 1);
        if (double(y[i]) > 1e-4 && std::isnan(threshold)) threshold = at;
        if (double(y[i]) > 1e-4) CHECK(at == Approx(threshold).margin(100 * near));
      }
      for (std::size_t i = 0; i < x.size() && alpha > 1; ++i)
        if (y[i] == 0) CHECK((alpha - 1) * double(x[i]) <= threshold + 100 * near);
      auto moved = x;
      for (T& value : moved) value += T(16);
      const auto same = entmax(moved, alpha);
      for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::abs(double(same[i]) - double(y[i])) < 10 * near);
      auto turned = x;
      std::reverse(turned.begin(), turned.end());
      const auto back = entmax(turned, alpha);
      for (std::size_t i = 0; i < x.size(); ++i)
        CHECK(std::abs(double(back[x.size() - 1 - i]) - double(y[i])) < 10 * near);
    }
}

TEST_CASE("entmax_row: a hidden element does not count; nothing visible is 0; NaN spreads") {
  for (const double alpha : {1.0, 1.5, 1.7, 2.0}) {
    CAPTURE(alpha);
    auto x = row<double>(19, 3);
    const auto without = [&] {
      auto rest = x;
      rest.erase(rest.begin() + 4);
      return entmax(rest, alpha);
    }();
    x[4] = -kInfinity;
    const auto y = entmax(x, alpha);
    CHECK(y[4] == 0);
    for (std::size_t i = 0; i < 4; ++i) CHECK(y[i] == Approx(without[i]).margin(1e-14));
    for (const double p : entmax(std::vector<double>(5, -kInfinity), alpha)) CHECK(p == 0);
    for (const double p : entmax(std::vector<double>(5, 3.0), alpha)) CHECK(p == Approx(0.2));
    x[2] = kNaN;
    for (const double p : entmax(x, alpha)) CHECK(std::isnan(p));
    // In place.
    auto z = row<double>(19, 4);
    const auto want = entmax(z, alpha);
    kernel::entmax_row(z.data(), 19, alpha, z.data());
    CHECK(z == want);
  }
}

TEST_CASE("entmax_row_backward and entmax_alpha_gradient against differences") {
  for (const double alpha : {1.0, 1.3, 1.5, 2.0, 2.5}) {
    CAPTURE(alpha);
    const auto x = row<double>(17, 5), d = row<double>(17, 6), y = entmax(x, alpha);
    std::vector<double> got(18, 0.5);
    kernel::entmax_row_backward(y.data(), d.data(), 17, alpha, got.data());
    CHECK(got[17] == 0.5);
    const auto along = [&](const std::vector<double>& p) {
      double sum = 0;
      for (std::size_t i = 0; i < 17; ++i) sum += p[i] * d[i];
      return sum;
    };
    for (std::size_t i = 0; i < 17; ++i) {
      auto up = x, down = x;
      up[i] += 1e-6;
      down[i] -= 1e-6;
      CHECK(got[i] - 0.5 == Approx((along(entmax(up, alpha)) - along(entmax(down, alpha))) / 2e-6).margin(1e-6));
    }
    if (alpha == 1) continue;
    const double slope = (along(entmax(x, alpha + 1e-5)) - along(entmax(x, alpha - 1e-5))) / 2e-5;
    CHECK(kernel::entmax_alpha_gradient(y.data(), d.data(), 17, alpha) == Approx(slope).margin(1e-5));
  }
}
