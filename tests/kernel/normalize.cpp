// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/normalize.hpp"

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
  std::normal_distribution<float> normal(0.5f);
  for (T& v : x) v = T(normal(engine));
}

}  // namespace

TEMPLATE_TEST_CASE("A normalised row has mean 0 and mean square 1, and nothing beside it is touched", "", float,
                   double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 1e-6 : 1e-14;
  for (const Edge edge : {Edge::kBegin, Edge::kEnd})
    for (const Index width : {2, 3, 17, 63, 64, 200}) {
      CAPTURE(width);
      const Guarded<T> x(std::size_t(width), edge), y(std::size_t(width), edge);
      fill(x, 1);
      double mean = 0, square = 0, about_0 = 0;
      kernel::normalize_row<T>(x.data(), width,
                               kernel::row_scale<kernel::RowNorm::kDeviation, T>(x.data(), width, T(0)), nullptr,
                               nullptr, y.data());
      for (const T v : y) mean += double(v) / double(width), square += double(v) * double(v) / double(width);
      CHECK(std::abs(mean) < tolerance);
      CHECK(std::abs(square - 1) < tolerance);
      const auto by = kernel::row_scale<kernel::RowNorm::kMeanSquare, T>(x.data(), width, T(0));
      CHECK(by.mean == 0);
      kernel::normalize_row<T>(x.data(), width, by, nullptr, nullptr, y.data());
      for (const T v : y) about_0 += double(v) * double(v) / double(width);
      CHECK(std::abs(about_0 - 1) < tolerance);
    }
}

TEMPLATE_TEST_CASE("The gradient of a row has no part along what the norm takes away", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 1e-5 : 1e-13;
  for (const Index width : {3, 17, 63, 200}) {
    CAPTURE(width);
    const std::size_t n = std::size_t(width);
    const Guarded<T> x(n), g(n), d(n), dw(n);
    fill(x, 1);
    fill(g, 2);
    const auto by = kernel::row_scale<kernel::RowNorm::kDeviation, T>(x.data(), width, T(0));
    kernel::normalize_row_backward<kernel::RowNorm::kDeviation, T>(x.data(), width, by, nullptr, g.data(), d.data(),
                                                                   dw.data(), nullptr);
    double shift = 0, stretch = 0;
    for (std::size_t c = 0; c < n; ++c) {
      shift += double(d[c]);
      stretch += double(d[c]) * double(x[c]);
      const double y = (double(x[c]) - double(by.mean)) * double(by.scale);
      CHECK(std::abs(double(dw[c]) - double(g[c]) * y) < tolerance);
    }
    CHECK(std::abs(shift) < tolerance * double(width));
    CHECK(std::abs(stretch) < tolerance * double(width));
  }
}
