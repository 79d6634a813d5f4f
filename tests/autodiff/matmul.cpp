// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/matmul.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("matmul is the sum of products, for every leading index") {
  for (const Index n : {1, 3, 17, 70})
    for (const bool shared : {false, true}) {
      const auto a = random_tensor<float, 3>({2, n, 5}, 1), b = random_tensor<float, 3>({shared ? 1 : 2, 5, 19}, 2);
      const auto c = heed::matmul(a, b);
      double worst = 0;
      for (Index x = 0; x < 2; ++x)
        for (Index i = 0; i < n; ++i)
          for (Index o = 0; o < 19; ++o) {
            double sum = 0;
            for (Index k = 0; k < 5; ++k) sum += double(a(x, i, k)) * double(b(shared ? 0 : x, k, o));
            worst = std::max(worst, std::abs(sum - double(c(x, i, o))));
          }
      CHECK(worst < 1e-5);
    }
  CHECK_THROWS_AS(heed::matmul(random_tensor<float, 2>({2, 3}, 1), random_tensor<float, 2>({4, 3}, 1)), heed::Error);
}

TEST_CASE("Gradients of matmul, of transposed and of broadcast factors") {
  auto a = random_tensor<double, 3>({3, 4, 5}, 1), b = random_tensor<double, 3>({3, 5, 2}, 2);
  auto shared = random_tensor<double, 3>({1, 5, 7}, 3);
  check_gradients(
      [](auto&, const auto& x, const auto& y, const auto& z) {
        return std::make_tuple(heed::matmul(x, y), heed::matmul(x, z),
                               heed::matmul(y.permute({0, 2, 1}), x.permute({0, 2, 1})),
                               heed::matmul(z.permute({0, 2, 1}), y));
      },
      a, b, shared);
}
