// SPDX-License-Identifier: Apache-2.0
#include "heed/block/sinusoid.hpp"

#include <cmath>

#include "catch.hpp"

TEST_CASE("sinusoidal_positions: sine and cosine of one angle side by side") {
  const auto code = heed::sinusoidal_positions<double>(17, 5, 100);
  for (heed::Index t = 0; t < 17; ++t) {
    for (heed::Index j = 0; j < 2; ++j) {
      const double angle = double(t) * std::pow(100, -2.0 * double(j) / 5);
      CHECK(code(t, 2 * j) == Approx(std::sin(angle)).margin(1e-15));
      CHECK(code(t, 2 * j + 1) == Approx(std::cos(angle)).margin(1e-15));
    }
    CHECK(code(t, 4) == Approx(std::sin(double(t) * std::pow(100, -0.8))).margin(1e-15));
  }
}
