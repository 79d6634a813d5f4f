// SPDX-License-Identifier: Apache-2.0
#include "heed/block/elementwise.hpp"

#include <limits>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::contains;
using heed::test::error_of;
using heed::test::random_tensor;

TEMPLATE_TEST_CASE("Sums, differences and products of one shape", "", float, double) {
  for (const Index width : {1, 3, 17, 63}) {
    const auto a = random_tensor<TestType, 2>({5, width}, 1), b = random_tensor<TestType, 2>({5, width}, 2);
    CHECK(error_of(heed::add(a, b), Tensor<TestType, 2>(a + b)) == 0);
    CHECK(error_of(heed::subtract(a, b), Tensor<TestType, 2>(a - b)) == 0);
    CHECK(error_of(heed::multiply(a, b), Tensor<TestType, 2>(a * b)) == 0);
    CHECK(error_of(heed::scale(a, 0.25), Tensor<TestType, 2>(a * TestType(0.25))) == 0);
  }
}

TEST_CASE("Axes of size 1 are broadcast, and leading ones added") {
  const auto a = random_tensor<float, 3>({2, 3, 17}, 1);
  const auto b = random_tensor<float, 2>({3, 1}, 2);
  const auto y = heed::add(a, b), z = heed::subtract(b, a);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 17; ++k) {
        CHECK(y(i, j, k) == a(i, j, k) + b(j, 0));
        CHECK(z(i, j, k) == b(j, 0) - a(i, j, k));
      }
  const auto outer = heed::multiply(random_tensor<float, 2>({5, 1}, 3), random_tensor<float, 1>({7}, 4));
  CHECK(outer.dimension(0) == 5);
  CHECK(outer.dimension(1) == 7);
}

TEST_CASE("Elementwise operations take any strides, storage and number of threads") {
  const auto a = random_tensor<float, 2>({170, 130}, 1), b = random_tensor<float, 2>({130, 170}, 2);
  const auto turned = heed::view(b).permute({1, 0});
  const auto want = heed::multiply(a, turned);
  for (Index i = 0; i < 170; ++i)
    for (Index j = 0; j < 130; ++j) REQUIRE(want(i, j) == a(i, j) * b(j, i));
  Tensor<float, 2> target(130, 170);
  target.setConstant(std::numeric_limits<float>::quiet_NaN());
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  heed::elementwise(heed::Product(), device, a, turned, heed::view(target).permute({1, 0}));
  CHECK(error_of(heed::view(target).permute({1, 0}), want) == 0);
  const Tensor<heed::bfloat16, 2> narrow = a.cast<heed::bfloat16>();
  CHECK(heed::add(narrow, narrow)(3, 4) == heed::bfloat16(2 * float(narrow(3, 4))));
}

TEST_CASE("Elementwise operations refuse shapes that do not broadcast") {
  const Tensor<float, 2> a(2, 3), b(3, 3);
  CHECK_THROWS_WITH(heed::add(a, b), contains("add: shapes (2, 3) and (3, 3) do not broadcast"));
  Tensor<float, 2> out(2, 2);
  CHECK_THROWS_WITH(heed::elementwise(heed::Sum(), Eigen::DefaultDevice(), a, a, out),
                    "add: out must have shape (2, 3), got (2, 2)");
  CHECK_THROWS_WITH(heed::scale(Eigen::DefaultDevice(), a, 2, out), "scale: out must have shape (2, 3), got (2, 2)");
  CHECK(heed::add(Tensor<float, 2>(0, 3), Tensor<float, 2>(1, 3)).size() == 0);
}
