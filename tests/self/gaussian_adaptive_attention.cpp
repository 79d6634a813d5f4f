// SPDX-License-Identifier: Apache-2.0
#include "heed/self/gaussian_adaptive_attention.hpp"

#include "catch.hpp"
#include "heed/self/importance_factor.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("gaussian_adaptive_attention: heads of unequal length, padding, any axis") {
  const auto offset = random_tensor<double, 2>({2, 3}, 1, 0.3);
  auto scale = random_tensor<double, 2>({2, 3}, 2, 0.2);
  for (Index i = 0; i < scale.size(); ++i) scale.data()[i] += i % 2 == 0 ? 1.5 : -1.5;
  for (const bool padded : {true, false}) {
    auto x = random_tensor<double, 3>({3, 7, 2}, 3);
    heed::GaussianAdaptiveAttention<double> gate{{.axis = -2, .num_heads = 2}, offset, scale};
    if (padded) {
      gate.options.padding_value = -9;
      x(1, 2, 0) = x(1, 5, 1) = x(2, 6, 1) = -9;
    }
    Tensor<double, 3> weights(3, 7, 2), out(3, 7, 2);
    for (Index a = 0; a < 3; ++a)
      for (Index c = 0; c < 2; ++c)
        for (Index h = 0; h < 2; ++h) {
          const Index first = 3 * h, end = h == 1 ? 7 : 3;
          const double length = double(end - first);
          const auto value = [&](Index j) { return padded && x(a, j, c) == -9 ? 0 : x(a, j, c); };
          double mu = 0, variance = 0, total = 0;
          for (Index j = first; j < end; ++j) mu += value(j) / length;
          for (Index j = first; j < end; ++j) variance += std::pow(value(j) - mu, 2) / (length - 1);
          for (Index j = first; j < end; ++j) {
            double w = 1;
            for (Index g = 0; g < 3; ++g) {
              const double t = (x(a, j, c) - mu - offset(h, g)) / std::sqrt(variance + 1e-8), s = scale(h, g);
              w *= std::exp(-t * t / (2 * s * s)) / std::sqrt(2 * 3.14159265358979323846 * s * s);
            }
            total += weights(a, j, c) = w;
          }
          for (Index j = first; j < end; ++j) {
            weights(a, j, c) /= std::max(total, 1e-8);
            out(a, j, c) = padded && x(a, j, c) == -9 ? -9 : x(a, j, c) * weights(a, j, c);
          }
        }
    const auto got = gate(x);
    CHECK(error_of(got.weights, weights) < 1e-13);
    CHECK(error_of(got.out, out) < 1e-13);
    CHECK(error_of(heed::GaussianAdaptiveBlock<double>{{gate}}(x), Tensor<double, 3>(out + x)) < 1e-13);
  }
}

TEST_CASE("gaussian_adaptive_attention: where all weights underflow they are about 0; errors; importance") {
  const auto x = random_tensor<float, 2>({4, 6}, 1);
  Tensor<float, 2> offset(1, 1), scale(1, 1);
  offset(0, 0) = 1e3f;
  scale(0, 0) = 1;
  heed::GaussianAdaptiveAttention<float> gate{{}, offset, scale};
  CHECK(error_of(gate(x).out, Tensor<float, 2>(x * 0.f)) == 0);
  CHECK(heed::importance_factor(gate(x).weights)(1, 2) == 0);
  CHECK(heed::importance_factor<true>(x).dimension(0) == 6);
  gate.options.num_heads = 4;
  CHECK_THROWS_WITH(gate(x),
                    "gaussian_adaptive_attention: each of num_heads = 4 heads needs two elements or more, "
                    "whose variance it takes; the axis has 6");
  gate.options = {.axis = 2};
  CHECK_THROWS_WITH(gate(x), "gaussian_adaptive_attention: axis 2 is none of x of shape (4, 6)");
  gate.options = {};
  gate.scale(0, 0) = 0;
  CHECK_THROWS_WITH(gate(x), "gaussian_adaptive_attention: scale must not be 0, got one at 0");
}
