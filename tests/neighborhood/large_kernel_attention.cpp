// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/large_kernel_attention.hpp"

#include "heed/neighborhood/large_separable_kernel_attention.hpp"
#include "support/large_kernels.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::depthwise_layer;
using heed::test::error_of;
using heed::test::identity;
using heed::test::only_tap;
using heed::test::random_pointwise;
using heed::test::random_tensor;

namespace {

using Separable = heed::LargeSeparableKernelAttention<double>;

// x times x from `rows` and `columns` further on, 0 outside.
Tensor<double, 4> times_shifted(const Tensor<double, 4>& x, Index rows, Index columns) {
  Tensor<double, 4> out(x.dimensions());
  out.setZero();
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index c = 0; c < x.dimension(1); ++c)
      for (Index i = 0; i + rows < x.dimension(2); ++i)
        for (Index j = 0; j + columns < x.dimension(3); ++j)
          out(b, c, i, j) = x(b, c, i, j) * x(b, c, i + rows, j + columns);
  return out;
}

}  // namespace

TEST_CASE("large_kernel_attention: single taps shift by their dilation") {
  auto x = random_tensor<double, 4>({2, 3, 9, 17}, 1);
  heed::LargeKernelAttention<double> attend{
      {.dilation = 2}, only_tap(3, 3, 3, 2, 0), only_tap(3, 5, 5, 4, 3), identity(3)};
  // One down and one left, then four down and two right.
  Tensor<double, 4> shifted = attend(x);
  CHECK(shifted(0, 0, 4, 0) == 0);  // of row 9, the first that is not there
  CHECK(std::abs(shifted(1, 2, 2, 5) - x(1, 2, 2, 5) * x(1, 2, 7, 6)) < 1e-15);
  attend.dw = only_tap(3, 1, 1, 0, 0);
  CHECK(error_of(attend(x), times_shifted(x, 4, 2)) < 1e-15);
  CHECK_THROWS_AS(attend(random_tensor<double, 4>({1, 2, 4, 4}, 1)), heed::Error);
  attend.options.dilation = 0;
  CHECK_THROWS_AS(attend(x), heed::Error);
}

TEST_CASE("Gradients of large_kernel_attention on a map smaller than its kernels") {
  auto x = random_tensor<double, 4>({1, 2, 3, 2}, 1);
  heed::LargeKernelAttention<double> attend{
      {}, depthwise_layer(2, 5, 5), depthwise_layer(2, 7, 7), random_pointwise(2, 2)};
  check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
}

TEST_CASE("large_separable_kernel_attention dilates along its kernels alone, in one direction or in both") {
  const auto x = random_tensor<double, 4>({1, 2, 9, 10}, 1);
  Separable attend{{.dilation = 3},         only_tap(2, 1, 3, 0, 2), only_tap(2, 3, 1, 2, 0),
                   only_tap(2, 1, 5, 0, 3), only_tap(2, 5, 1, 3, 0), identity(2)};
  CHECK(error_of(attend(x), times_shifted(x, 4, 4)) < 1e-15);
  attend.options.mode = Separable::Mode::kHorizontal;
  CHECK(error_of(attend(x), times_shifted(x, 0, 4)) < 1e-15);
  attend.options.mode = Separable::Mode::kVertical;
  CHECK(error_of(attend(x), times_shifted(x, 4, 0)) < 1e-15);
  attend.dw_v = attend.dw_h;
  CHECK_THROWS_WITH(attend(x),
                    "large_separable_kernel_attention: dw_v.weight must have kernels of one column, got (2, 1, 1, 3)");
}

TEST_CASE("Gradients of large_separable_kernel_attention") {
  auto x = random_tensor<double, 4>({1, 2, 3, 4}, 1);
  for (const auto mode : {Separable::Mode::kBoth, Separable::Mode::kHorizontal, Separable::Mode::kVertical}) {
    Separable attend{{.dilation = 2, .mode = mode}, depthwise_layer(2, 1, 3), depthwise_layer(2, 3, 1),
                     depthwise_layer(2, 1, 5),      depthwise_layer(2, 5, 1), random_pointwise(2, 2)};
    check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  }
}
