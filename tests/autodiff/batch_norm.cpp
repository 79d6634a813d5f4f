// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/batch_norm.hpp"

#include "support/finite_differences.hpp"

using heed::BatchNorm;
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
BatchNorm<T> random_layer(Index channels) {
  BatchNorm<T> layer{random_tensor<T, 1>({channels}, 1), random_tensor<T, 1>({channels}, 2),
                     random_tensor<T, 1>({channels}, 3), random_tensor<T, 1>({channels}, 4)};
  layer.var = layer.var.square() + T(0.5);
  return layer;
}

}  // namespace

TEMPLATE_TEST_CASE("batch_norm by stored statistics", "", float, double) {
  using T = TestType;
  auto layer = random_layer<T>(5);
  const auto x = random_tensor<T, 4>({3, 5, 7, 9}, 5, 3.0);
  for (const bool affine : {true, false}) {
    if (!affine) layer.weight = layer.bias = {};
    const Tensor<T, 4> y = layer(x);
    Tensor<double, 4> want(3, 5, 7, 9);
    for (Index b = 0; b < 3; ++b)
      for (Index c = 0; c < 5; ++c)
        for (Index i = 0; i < 7; ++i)
          for (Index j = 0; j < 9; ++j)
            want(b, c, i, j) = (double(x(b, c, i, j)) - double(layer.mean(c))) /
                                   std::sqrt(double(layer.var(c)) + 1e-5) * (affine ? double(layer.weight(c)) : 1) +
                               (affine ? double(layer.bias(c)) : 0);
    CHECK(error_of(y, want) < 1e-6);
    const Tensor<T, 2> row = layer(heed::view(x).select(3, 8).select(2, 6));
    CHECK(error_of(row, heed::view(y).select(3, 8).select(2, 6)) < 1e-6);
  }
  layer.mean.resize(4);
  CHECK_THROWS_WITH(layer(x), "batch_norm: mean must have shape (5), the channels of x, got (4)");
}

TEST_CASE("Gradients of batch_norm") {
  auto layer = random_layer<double>(3);
  const auto apply = [&](auto&, const auto& x, const auto& w, const auto& b) {
    return heed::batch_norm(x, w, b, layer.mean, layer.var);
  };
  auto x = random_tensor<double, 4>({2, 3, 4, 5}, 5);
  check_gradients(apply, x, layer.weight, layer.bias);
  auto rows = random_tensor<double, 2>({7, 3}, 5);
  check_gradients(apply, rows, layer.weight, layer.bias);
  layer.weight = layer.bias = {};
  check_gradients([&](auto&, const auto& v) { return layer(v); }, rows);
}
