// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/scatter.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("scatter_add sums the rows of an index, and drops negative ones") {
  const auto x = random_tensor<float, 3>({2, 5, 3}, 1);
  Tensor<std::int32_t, 2> indices(2, 5);
  indices.setValues({{3, -1, 0, 3, 3}, {1, 2, 1, -1, -1}});
  const auto got = heed::scatter_add(heed::DeviceRef(), x, indices, 4);
  REQUIRE(heed::const_view(got).sizes == std::array<Index, 3>{2, 4, 3});
  for (Index b = 0; b < 2; ++b)
    for (Index m = 0; m < 4; ++m)
      for (Index c = 0; c < 3; ++c) {
        float want = 0;
        for (Index i = 0; i < 5; ++i)
          if (indices(b, i) == m) want += x(b, i, c);
        CHECK(got(b, m, c) == want);
      }
  CHECK_THROWS_AS(heed::scatter_add(heed::DeviceRef(), x, indices, 3), heed::Error);
}

TEST_CASE("Gradients of scatter_add") {
  auto x = random_tensor<double, 3>({2, 5, 3}, 1);
  Tensor<std::int32_t, 2> indices(2, 5);
  indices.setValues({{3, -1, 0, 3, 3}, {1, 2, 1, -1, -1}});
  check_gradients([&](auto&, const auto& v) { return heed::scatter_add(heed::DeviceRef(), v, indices, 4); }, x);
}
