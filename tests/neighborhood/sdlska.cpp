// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/sdlska.hpp"

#include "support/large_kernels.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::depthwise_layer;
using heed::test::error_of;
using heed::test::fill;
using heed::test::identity;
using heed::test::only_tap;
using heed::test::random_batch_norm;
using heed::test::random_pointwise;
using heed::test::random_tensor;

namespace {

using Selection = heed::ComprehensiveKernelSelection<double>;

Selection random_selection(Index channels, Index inner) {
  const auto one = [](Index out, Index in) {
    return Selection::ChannelLayer{random_pointwise(out, in), depthwise_layer(out, 3, 3), random_batch_norm(out)};
  };
  return {one(inner, channels),
          one(channels, inner),
          one(channels, inner),
          one(channels, inner),
          {fill<4>({3, 2, 7, 7}), fill<1>({3})}};
}

// All gates 1/2.
Selection even_selection(Index channels) {
  Selection select = random_selection(channels, 2);
  heed::for_each_parameter(select, [](std::string_view name, auto& tensor) {
    if (!name.ends_with("var")) tensor.setZero();
  });
  return select;
}

}  // namespace

TEST_CASE("comprehensive_kernel_selection: gates without weights are one half") {
  auto small = random_tensor<double, 4>({2, 3, 4, 5}, 1), horizontal = random_tensor<double, 4>({2, 3, 4, 5}, 2),
       vertical = random_tensor<double, 4>({2, 3, 4, 5}, 3);
  const Tensor<double, 4> sum = (small + horizontal + vertical) * 0.25;
  CHECK(error_of(even_selection(3)(small, horizontal, vertical), sum) < 1e-15);
  // One position, of which only the centre of a kernel is used.
  auto select = random_selection(3, 2);
  const auto point = [](const Tensor<double, 4>& x) {
    Tensor<double, 4> one(2, 3, 1, 1);
    for (Index b = 0; b < 2; ++b)
      for (Index c = 0; c < 3; ++c) one(b, c, 0, 0) = x(b, c, 1, 1);
    return one;
  };
  const auto got = select(point(small), point(horizontal), point(vertical));
  for (auto* layer : {&select.reduce, &select.small})
    for (Index c = 0; c < layer->dw.weight.dimension(0); ++c) layer->dw.weight(c, 0, 0, 1) = 100;
  CHECK(error_of(select(point(small), point(horizontal), point(vertical)), got) == 0);
  CHECK_THROWS_AS(select(small, point(horizontal), vertical), heed::Error);
}

TEST_CASE("Gradients of comprehensive_kernel_selection") {
  auto small = random_tensor<double, 4>({1, 3, 2, 3}, 1), horizontal = random_tensor<double, 4>({1, 3, 2, 3}, 2),
       vertical = random_tensor<double, 4>({1, 3, 2, 3}, 3);
  auto select = random_selection(3, 2);
  check_gradients([&](auto&, const auto&... x) { return select(x...); }, small, horizontal, vertical, select);
}

TEST_CASE("sdlska gives both directions the same near map") {
  auto x = random_tensor<double, 4>({1, 2, 8, 9}, 1);
  heed::Sdlska<double> attend{
      {.dilation = 2}, only_tap(2, 3, 3, 1, 1), only_tap(2, 1, 3, 0, 2), only_tap(2, 3, 1, 2, 0),
      identity(2),     even_selection(2)};
  const auto got = attend(x);
  CHECK(std::abs(got(0, 1, 3, 4) - x(0, 1, 3, 4) * (x(0, 1, 3, 4) + x(0, 1, 3, 6) + x(0, 1, 5, 4)) / 4) < 1e-15);
  auto small = random_tensor<double, 4>({1, 2, 3, 3}, 2);
  heed::Sdlska<double> random{{.dilation = 2},          depthwise_layer(2, 3, 3), depthwise_layer(2, 1, 3),
                              depthwise_layer(2, 3, 1), random_pointwise(2, 2),   random_selection(2, 2)};
  check_gradients([&](auto&, const auto& v) { return random(v); }, small, random);
  std::swap(random.dwd_h, random.dwd_v);
  CHECK_THROWS_AS(random(small), heed::Error);
}
