// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/band_product.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("A band of weights along the channels, with its gradients") {
  for (const Index taps : {1, 3, 9})
    for (const bool shared : {false, true}) {
      auto z = random_tensor<double, 2>({3, 7}, 1), weight = random_tensor<double, 2>({shared ? 1 : 7, taps}, 2);
      const auto out = heed::band_product(z, weight);
      for (Index b = 0; b < 3; ++b)
        for (Index c = 0; c < 7; ++c) {
          double sum = 0;
          for (Index j = 0; j < taps; ++j) {
            const Index from = c + j - (taps - 1) / 2;
            if (from >= 0 && from < 7) sum += weight(shared ? 0 : c, j) * z(b, from);
          }
          CHECK(out(b, c) == Approx(sum).margin(1e-12));
        }
      check_gradients([](auto&, const auto& a, const auto& w) { return heed::band_product(a, w); }, z, weight);
    }
}
