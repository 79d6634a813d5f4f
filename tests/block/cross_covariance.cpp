// SPDX-License-Identifier: Apache-2.0
#include "heed/block/cross_covariance.hpp"

#include "catch.hpp"
#include "heed/block/two_sided_attention.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

TEST_CASE("cross_covariance is attention among channels by their cosines") {
  for (const Index n : {1, 3, 17, 63}) {
    const auto q = random_tensor<float, 4>({2, 3, 4, n}, 1), k = random_tensor<float, 4>({2, 3, 5, n}, 2),
               v = random_tensor<float, 4>({2, 3, 5, n}, 3);
    const auto temperature = random_tensor<float, 1>({3}, 4);
    const auto length = [&](const auto& x, Index b, Index h, Index i) {
      double square = 0;
      for (Index t = 0; t < n; ++t) square += double(x(b, h, i, t)) * double(x(b, h, i, t));
      return std::sqrt(square);
    };
    heed::test::NaiveAttention naive{.scale = 1};
    naive.score = [&](double s, Index b, Index h, Index i, Index j) {
      return s / (length(q, b, h, i) * length(k, b, h, j)) * double(temperature(h));
    };
    Tensor<float, 4> out(2, 3, 4, n);
    out.setConstant(float(kNaN));
    heed::cross_covariance(DeviceRef(), q, k, v, temperature, 1e-12, heed::view(out));
    CHECK(error_of(out, naive(q, k, v).out) < 1e-5);
  }
  Tensor<float, 4> x(1, 2, 3, 4);
  CHECK_THROWS_WITH(heed::cross_covariance(DeviceRef(), x, x, x, Tensor<float, 1>(3), 1e-12, heed::view(x)),
                    "cross_covariance: temperature must have shape (H) = (2), got (3)");
}

TEST_CASE("two_sided_attention: keys that agree give the mean of the values; the definition") {
  for (const Index n : {1, 3, 17}) {
    const auto q = random_tensor<float, 4>({2, 1, 4, n}, 1), v = random_tensor<float, 4>({2, 1, 5, n}, 3);
    const auto k = random_tensor<float, 4>({2, 1, 4, n}, 2);
    Tensor<double, 4> want(2, 1, 5, n);
    want.setZero();
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < n; ++i) {
        double of_query = 0;
        for (Index d = 0; d < 4; ++d) of_query += std::exp(double(q(b, 0, d, i)));
        for (Index d = 0; d < 4; ++d) {
          double of_keys = 0;
          for (Index j = 0; j < n; ++j) of_keys += std::exp(double(k(b, 0, d, j)));
          for (Index j = 0; j < n; ++j)
            for (Index c = 0; c < 5; ++c)
              want(b, 0, c, i) += std::exp(double(q(b, 0, d, i))) / of_query * std::exp(double(k(b, 0, d, j))) /
                                  of_keys * double(v(b, 0, c, j));
        }
      }
    Tensor<float, 4> out(2, 1, 5, n);
    out.setConstant(float(kNaN));
    heed::two_sided_attention(DeviceRef(), q, k, v, heed::view(out));
    CHECK(error_of(out, want) < 1e-6);
    Tensor<float, 4> even(2, 1, 4, n);
    even.setConstant(3);
    heed::two_sided_attention(DeviceRef(), q, even, v, heed::view(out));
    for (Index c = 0; c < 5; ++c) {
      double mean = 0;
      for (Index j = 0; j < n; ++j) mean += double(v(1, 0, c, j)) / double(n);
      CHECK(std::abs(out(1, 0, c, n - 1) - mean) < 1e-6);
    }
  }
}
