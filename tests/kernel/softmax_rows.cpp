// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/softmax_rows.hpp"

#include <random>

#include "catch.hpp"
#include "support/guarded.hpp"

using heed::Index;
using heed::test::Edge;
using heed::test::Guarded;
namespace kernel = heed::kernel;

namespace {

template <class T>
void fill(const Guarded<T>& x, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.f, 5.f);
  for (T& v : x) v = T(normal(engine));
}

}  // namespace

TEMPLATE_TEST_CASE("A softmax sums to 1 and its log-sum-exp agrees, at every width and at the ends of memory", "",
                   float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-14;
  for (const Edge edge : {Edge::kBegin, Edge::kEnd})
    for (const Index width : {1, 3, 17, 63, 1024, 2500}) {
      CAPTURE(width);
      const std::size_t n = std::size_t(width);
      const Guarded<T> x(n, edge), p(n, edge), d(n, edge), e(n, edge);
      fill(x, unsigned(width));
      double exact = 0, total = 0;
      for (const T v : x) exact += std::exp(double(v));
      const auto sum = kernel::exponential_sum(x.data(), width);
      CHECK(std::abs(double(sum.most) + std::log(double(sum.sum)) - std::log(exact)) < tolerance * 10);
      kernel::softmax_row(x.data(), width, p.data());
      for (std::size_t i = 0; i < n; ++i) {
        total += double(p[i]);
        CHECK(std::abs(double(p[i]) - std::exp(double(x[i])) / exact) < tolerance);
      }
      CHECK(std::abs(total - 1) < tolerance);

      // The gradient of the logarithm of the sum is the softmax; that of a sum of probabilities is 0.
      kernel::log_sum_backward(x.data(), width, sum, T(2), d.data());
      for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(double(d[i]) - 2 * double(p[i])) < 2 * tolerance);
      for (T& v : d) v = T(3);
      kernel::softmax_row_backward(p.data(), d.data(), width, e.data());
      for (const T v : e) CHECK(std::abs(double(v)) < 4 * tolerance);
    }
}

TEMPLATE_TEST_CASE("Rows of -infinity, NaN and large numbers", "", float, double) {
  using T = TestType;
  constexpr T infinity = std::numeric_limits<T>::infinity();
  const Guarded<T> x(1500);
  for (T& v : x) v = -infinity;
  CHECK(kernel::exponential_sum(x.data(), 1500).sum == 0);
  x[1400] = T(3);  // in the second piece
  auto sum = kernel::exponential_sum(x.data(), 1500);
  CHECK((sum.most == 3 && sum.sum == 1));
  for (T& v : x) v = std::numeric_limits<T>::max();
  sum = kernel::exponential_sum(x.data(), 1500);
  CHECK((sum.most == std::numeric_limits<T>::max() && sum.sum == 1500));
  x[7] = std::numeric_limits<T>::quiet_NaN();
  CHECK(std::isnan(kernel::exponential_sum(x.data(), 1500).sum));
  x[7] = infinity;
  CHECK(std::isnan(kernel::exponential_sum(x.data(), 1500).sum));
}
