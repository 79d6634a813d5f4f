// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/bilinear_sample.hpp"

#include <limits>

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

namespace {

// Points within a map and beyond it, none near a cell, where the gradient jumps.
Tensor<double, 3> some_points(Index batch, Index count) {
  auto points = random_tensor<double, 3>({batch, count, 2}, 7, 3);
  for (Index i = 0; i < points.size(); ++i) {
    double& at = points.data()[i];
    at = std::floor(at) + 0.1 + 0.8 * (at - std::floor(at));
  }
  return points;
}

}  // namespace

TEST_CASE("bilinear_sample at cells, between them and beyond the border") {
  Tensor<float, 4> map(1, 2, 3, 1);
  map.setValues({{{{1}, {2}, {4}}, {{10}, {20}, {40}}}});
  Tensor<float, 3> points(1, 6, 2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  points.setValues({{{2, 0}, {0.5f, 0}, {0, 0.25f}, {1.5f, 0.5f}, {-3, 9}, {nan, 1}}});
  const auto got = heed::bilinear_sample(map, points);
  const float want[] = {4, 1.5f, 3.25f, 16.5f, 10, 10};
  for (Index n = 0; n < 6; ++n) CHECK(got(0, n, 0) == want[n]);
  CHECK(heed::bilinear_sample(map, Tensor<float, 3>(3, 0, 2)).size() == 0);
  CHECK_THROWS_WITH(heed::bilinear_sample(Tensor<float, 4>(1, 0, 3, 1), points),
                    "bilinear_sample: map must have cells, got shape (1, 0, 3, 1)");
  CHECK_THROWS_AS(heed::bilinear_sample(Tensor<float, 4>(2, 1, 1, 1), points), heed::Error);
}

TEST_CASE("bilinear_sample of channels first, as of channels last") {
  const auto map = random_tensor<double, 4>({2, 17, 4, 5}, 1);
  const auto points = some_points(2, 9);
  const auto strided = heed::view(map).permute({0, 2, 3, 1});
  Tensor<double, 4> packed(2, 4, 5, 17);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 4; ++i)
      for (Index j = 0; j < 5; ++j)
        for (Index c = 0; c < 17; ++c) packed(b, i, j, c) = map(b, c, i, j);
  CHECK(heed::test::error_of(heed::bilinear_sample(strided, points), heed::bilinear_sample(packed, points)) < 1e-15);
}

TEST_CASE("Gradients of bilinear_sample, of one map for each of the batch and one for all") {
  for (const Index maps : {2, 1}) {
    auto map = random_tensor<double, 4>({maps, 3, 4, 18}, 1);
    auto points = some_points(2, 5);
    heed::test::check_gradients([](auto&, const auto& m, const auto& p) { return heed::bilinear_sample(m, p); }, map,
                                points);
  }
}
