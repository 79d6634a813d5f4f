// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/group_norm.hpp"

#include "heed/autodiff/normalize.hpp"
#include "support/finite_differences.hpp"

using heed::GroupNorm;
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEMPLATE_TEST_CASE("group_norm over channels and positions of a group", "", float, double) {
  using T = TestType;
  const auto x = random_tensor<T, 4>({2, 6, 5, 7}, 1, 3.0);
  for (const Index groups : {1, 3, 6}) {
    const GroupNorm<T> layer{random_tensor<T, 1>({6}, 2), random_tensor<T, 1>({6}, 3), groups};
    const Tensor<T, 4> y = layer(x);
    Tensor<double, 4> want(2, 6, 5, 7);
    const Index channels = 6 / groups;
    const auto each = [&](Index g, auto&& f) {
      for (Index c = g * channels; c < (g + 1) * channels; ++c)
        for (Index i = 0; i < 5; ++i)
          for (Index j = 0; j < 7; ++j) f(c, i, j);
    };
    for (Index b = 0; b < 2; ++b)
      for (Index g = 0; g < groups; ++g) {
        double mean = 0, variance = 0;
        const double count = double(channels * 35);
        each(g, [&](Index c, Index i, Index j) { mean += double(x(b, c, i, j)) / count; });
        each(g, [&](Index c, Index i, Index j) { variance += std::pow(double(x(b, c, i, j)) - mean, 2) / count; });
        each(g, [&](Index c, Index i, Index j) {
          want(b, c, i, j) = (double(x(b, c, i, j)) - mean) / std::sqrt(variance + 1e-5) * double(layer.weight(c)) +
                             double(layer.bias(c));
        });
      }
    CHECK(error_of(y, want) < 1e-6);
    Tensor<T, 4> last(2, 5, 7, 6);
    heed::group_norm(Eigen::DefaultDevice(), x, groups, layer.weight, layer.bias, 1e-5,
                     heed::view(last).permute({0, 3, 1, 2}));
    CHECK(error_of(heed::view(last).permute({0, 3, 1, 2}), y) == 0);
  }
  CHECK_THROWS_WITH(heed::group_norm(x, 4, Tensor<T, 1>(), Tensor<T, 1>()),
                    "group_norm: groups must divide the 6 channels of x, got 4");
  const Tensor<T, 3> one =
      heed::group_norm(Tensor<T, 3>(random_tensor<T, 3>({1, 6, 1}, 1)), 6, Tensor<T, 1>(), random_tensor<T, 1>({6}, 3));
  CHECK(error_of(heed::view(one).select(2, 0).select(0, 0), random_tensor<T, 1>({6}, 3)) == 0);
}

TEST_CASE("layer_norm_channels is layer_norm at each position") {
  const auto x = random_tensor<float, 4>({2, 6, 3, 5}, 1);
  const auto weight = random_tensor<float, 1>({6}, 2), bias = random_tensor<float, 1>({6}, 3);
  const Tensor<float, 4> y = heed::layer_norm_channels(x, weight, bias);
  const Tensor<float, 4> last = heed::layer_norm(heed::view(x).permute({0, 2, 3, 1}), weight, bias);
  CHECK(error_of(heed::view(y).permute({0, 2, 3, 1}), last) == 0);
}

TEST_CASE("Gradients of group_norm and layer_norm_channels") {
  for (const Index groups : {1, 2, 4}) {
    GroupNorm<double> layer{random_tensor<double, 1>({4}, 2), random_tensor<double, 1>({4}, 3), groups};
    auto x = random_tensor<double, 4>({2, 4, 3, 3}, 1);
    check_gradients([&](auto&, const auto& v) { return layer(v); }, x, layer);
  }
  auto x = random_tensor<double, 3>({2, 5, 3}, 1);
  auto weight = random_tensor<double, 1>({5}, 2), bias = random_tensor<double, 1>({5}, 3);
  check_gradients([](auto&, const auto& v, const auto& w, const auto& b) { return heed::layer_norm_channels(v, w, b); },
                  x, weight, bias);
}
