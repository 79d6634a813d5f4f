// SPDX-License-Identifier: Apache-2.0
#include "heed/block/conv_1d.hpp"

#include "heed/autodiff/conv_2d.hpp"
#include "support/finite_differences.hpp"

using heed::Conv1d;
using heed::Conv1dOptions;
using heed::ConvChannels;
using heed::Index;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("conv_1d and conv_channels are conv_2d on other shapes") {
  const auto x = random_tensor<float, 3>({2, 6, 17}, 1);
  const Conv1d<float> layer{random_tensor<float, 3>({4, 3, 5}, 2),
                            random_tensor<float, 1>({4}, 3),
                            {.stride = 2, .padding = 3, .dilation = 2, .groups = 2}};
  const heed::Tensor<float, 3> y = layer(x);
  REQUIRE(heed::const_view(y).sizes == std::array<Index, 3>{2, 4, 8});
  for (Index b = 0; b < 2; ++b)
    for (Index o = 0; o < 4; ++o)
      for (Index i = 0; i < 8; ++i) {
        double want = double(layer.bias(o));
        for (Index c = 0; c < 3; ++c)
          for (Index u = 0; u < 5; ++u) {
            const Index at = 2 * i - 3 + 2 * u;
            if (at >= 0 && at < 17) want += double(layer.weight(o, c, u)) * double(x(b, o / 2 * 3 + c, at));
          }
        CHECK(double(y(b, o, i)) == Approx(want).margin(1e-5));
      }

  const ConvChannels<float> across{random_tensor<float, 2>({5, 6}, 4), random_tensor<float, 1>({5}, 5)};
  const heed::Tensor<float, 3> z = across(x);
  const heed::Tensor<float, 4> map = across(heed::view(x).split(2, 17));
  CHECK(error_of(heed::view(map).select(2, 0), z) == 0);
  for (Index o = 0; o < 5; ++o) {
    double want = double(across.bias(o));
    for (Index c = 0; c < 6; ++c) want += double(across.weight(o, c)) * double(x(1, c, 16));
    CHECK(double(z(1, o, 16)) == Approx(want).margin(1e-5));
  }
  CHECK_THROWS_AS(layer(heed::Tensor<float, 3>(2, 6, 0)), heed::Error);
}

TEST_CASE("Gradients of conv_1d and conv_channels") {
  auto x = random_tensor<double, 3>({2, 4, 7}, 1);
  Conv1d<double> layer{random_tensor<double, 3>({4, 1, 3}, 2), random_tensor<double, 1>({4}, 3),
                       Conv1dOptions::same(3, 4)};
  ConvChannels<double> across{random_tensor<double, 2>({3, 4}, 4), random_tensor<double, 1>({3}, 5)};
  check_gradients([&](auto&, const auto& v) { return across(layer(v)); }, x, layer, across);
}
