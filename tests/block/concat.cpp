// SPDX-License-Identifier: Apache-2.0
#include "heed/block/concat.hpp"

#include <limits>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("concat puts tensors one behind the other") {
  const auto a = random_tensor<float, 3>({2, 3, 17}, 1), b = random_tensor<float, 3>({2, 1, 17}, 2);
  const Tensor<float, 3> none(2, 0, 17);
  const auto y = heed::concat<1>(a, none, b, heed::view(a).slice(1, 1, 2));
  CHECK(heed::const_view(y).sizes == std::array<Index, 3>{2, 6, 17});
  CHECK(error_of(heed::view(y).slice(1, 0, 3), a) == 0);
  CHECK(error_of(heed::view(y).slice(1, 3, 1), b) == 0);
  CHECK(error_of(heed::view(y).slice(1, 4, 2), heed::view(a).slice(1, 1, 2)) == 0);
}

TEST_CASE("concat broadcasts axes of size 1") {
  const auto a = random_tensor<float, 3>({3, 2, 5}, 1), b = random_tensor<float, 3>({1, 1, 5}, 2);
  const auto y = heed::concat<1>(b, a);
  for (Index i = 0; i < 3; ++i)
    for (Index d = 0; d < 5; ++d) {
      CHECK(y(i, 0, d) == b(0, 0, d));
      CHECK(y(i, 2, d) == a(i, 1, d));
    }
}

TEST_CASE("concat refuses shapes that do not fit") {
  const Tensor<float, 2> a(2, 3), b(3, 3);
  CHECK_THROWS_WITH(heed::concat<1>(a, b), "concat: shapes (2, 3) and (3, 3) do not agree in axis 0");
  Tensor<float, 2> out(4, 3);
  CHECK_THROWS_WITH(heed::concat_into<0>(Eigen::DefaultDevice(), out, a, b),
                    "concat: out must have shape (5, 3), got (4, 3)");
}

TEST_CASE("contiguous lays a view out in row-major order, and merge makes one axis of two") {
  const auto x = random_tensor<float, 4>({2, 3, 5, 7}, 1);
  const auto turned = heed::view(x).permute({0, 2, 1, 3});
  const auto y = heed::contiguous(turned);
  CHECK(error_of(y, turned) == 0);
  const auto merged = heed::view(y).merge(2);
  CHECK(merged.sizes == std::array<Index, 3>{2, 5, 21});
  CHECK(merged(1, 4, 20) == x(1, 2, 4, 6));
  CHECK_THROWS_WITH(turned.merge(2), heed::test::contains("do not lie as one in memory"));
}
