// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/gather.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("gather takes rows of every matrix, and zeros where the index is negative") {
  const auto x = random_tensor<float, 4>({2, 3, 5, 7}, 1);
  Tensor<std::int32_t, 3> indices(2, 3, 6);
  for (Index i = 0; i < indices.size(); ++i) indices.data()[i] = std::int32_t(i * 7 % 6) - 1;
  const auto got = heed::gather(x, indices);
  REQUIRE(heed::const_view(got).sizes == std::array<Index, 4>{2, 3, 6, 7});
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 3; ++h)
      for (Index i = 0; i < 6; ++i)
        for (Index c = 0; c < 7; ++c) {
          const Index at = indices(b, h, i);
          CHECK(got(b, h, i, c) == (at < 0 ? 0 : x(b, h, at, c)));
        }
  const auto mask = heed::gathered_mask(indices);
  for (Index i = 0; i < indices.size(); ++i) CHECK(mask.data()[i] == (indices.data()[i] >= 0));
  indices(1, 2, 3) = 5;
  CHECK_THROWS_WITH(heed::gather(x, indices), "gather: index 5 (number 33) is beyond the 5 rows of x");
  CHECK_THROWS_AS(heed::gather(x, Tensor<std::int32_t, 3>(2, 2, 6)), heed::Error);

  // Of no rows, nothing but zeros can be taken.
  Tensor<std::int32_t, 1> none(4);
  none.setConstant(-1);
  const auto zeros = heed::gather(Tensor<float, 2>(0, 3), none);
  for (Index i = 0; i < zeros.size(); ++i) CHECK(zeros.data()[i] == 0);
}

TEST_CASE("Gradients of gather, of rows that are taken twice and of none") {
  auto x = random_tensor<double, 3>({2, 4, 3}, 1);
  Tensor<std::int32_t, 2> indices(2, 5);
  indices.setValues({{3, -1, 0, 3, 3}, {1, 2, 1, -1, -1}});
  check_gradients([&](auto&, const auto& v) { return heed::gather(v, indices); }, x);
}
