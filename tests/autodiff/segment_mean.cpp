// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/segment_mean.hpp"

#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/gather.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/block/fourier.hpp"
#include "heed/sparse/vmtc_token_merge.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of means of segments, and of the Fourier transform") {
  auto x = random_tensor<double, 2>({5, 3}, 1);
  Tensor<std::int32_t, 1> segments(5);
  segments.setValues({2, -1, 0, 2, 2});
  Tensor<std::int32_t, 1> columns(3);
  columns.setValues({1, 1, 0});
  check_gradients(
      [&](auto&, const auto& v) {
        return std::make_tuple(heed::segment_mean(v, segments, 4), heed::segment_mean(v.permute({1, 0}), columns, 2),
                               heed::real_fourier_2d(heed::DeviceRef(), v));
      },
      x);
  const auto means = heed::segment_mean(x, segments, 4);
  CHECK(means(2, 1) == Approx((x(0, 1) + x(3, 1) + x(4, 1)) / 3));
  CHECK(means(1, 0) == 0);
  CHECK_THROWS_AS(heed::segment_mean(x, segments, 2), heed::Error);
}

TEST_CASE("The Fourier transform of a constant is in one place") {
  Tensor<double, 2> x(3, 4);
  x.setConstant(2);
  const auto y = heed::real_fourier_2d(heed::DeviceRef(), x);
  for (Index i = 0; i < 12; ++i) CHECK(std::abs(y.data()[i] - (i == 0 ? 24 : 0)) < 1e-13);
}

TEST_CASE("vmtc_token_merge keeps and merges") {
  Tensor<double, 2> tokens(5, 2);
  tokens.setValues({{1, 0}, {0, 3}, {2, 0.1}, {7, 7}, {0, 1}});
  Tensor<double, 1> importance(5);
  importance.setValues({0, 0, 0, 1, 0});
  const auto merged = heed::VmtcTokenMerge{{.num_keep = 1, .num_clusters = 2}}(tokens, importance);
  CHECK(merged.out.dimension(0) == 3);
  CHECK(merged.out(0, 0) == 7);
  CHECK(merged.out(1, 0) == 1.5);
  CHECK(merged.out(2, 1) == 2);
  CHECK(merged.assignment(3) == -1);
  CHECK(merged.assignment(2) == merged.assignment(0));
  const auto all = heed::VmtcTokenMerge{{.num_keep = 9, .num_clusters = 9}}(tokens, importance);
  CHECK(all.out.dimension(0) == 5);
  const auto none = heed::VmtcTokenMerge{{.num_keep = 0, .num_clusters = 9, .iterations = 0}}(tokens, importance);
  CHECK(none.out.dimension(0) <= 5);
  CHECK_THROWS_AS((heed::VmtcTokenMerge{{.num_clusters = 0}}(tokens, importance)), heed::Error);
}
