// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/window_mean.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_mask;
using heed::test::random_tensor;

TEST_CASE("window_mean is the mean of the tokens that are there") {
  for (const Index n : {0, 1, 3, 17, 63})
    for (const Index c : {1, 3, 17})
      for (const Index window : {1, 2, 3, 20, 100}) {
        auto x = random_tensor<float, 3>({2, n, c}, 1);
        const auto mask = random_mask<2>({2, n}, 2, 0.5);
        Tensor<double, 3> want(2, n, c);
        want.setZero();
        for (Index b = 0; b < 2; ++b)
          for (Index t = 0; t < n; ++t)
            for (Index d = 0; d < c; ++d) {
              double sum = 0, count = 0;
              for (Index s = std::max<Index>(0, t - window + 1); s <= t; ++s)
                if (mask(b, s) != 0) sum += double(x(b, s, d)), ++count;
              if (count > 0) want(b, t, d) = sum / count;
            }
        for (Index b = 0; b < 2; ++b)
          for (Index t = 0; t < n; ++t)
            if (mask(b, t) == 0) x(b, t, 0) = float(heed::test::kNaN);
        CHECK(error_of(heed::window_mean(x, mask, window), want) < 1e-5);
      }
  const auto x = random_tensor<float, 3>({1, 3, 2}, 1);
  CHECK_THROWS_AS(heed::window_mean(x, random_mask<2>({1, 3}, 1, 1), 0), heed::Error);
  CHECK_THROWS_AS(heed::window_mean(x, random_mask<2>({1, 4}, 1, 1), 1), heed::Error);
}

TEST_CASE("Gradients of window_mean") {
  auto x = random_tensor<double, 3>({2, 7, 3}, 1);
  const auto mask = random_mask<2>({2, 7}, 2, 0.6);
  for (const Index window : {1, 3, 9})
    check_gradients([&](auto&, const auto& v) { return heed::window_mean(heed::DeviceRef(), v, mask, window); }, x);
}
