// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/row_access.hpp"

#include <numeric>
#include <vector>

#include "catch.hpp"
#include "support/guarded.hpp"

using heed::Index;
using heed::View;
namespace kernel = heed::kernel;

TEST_CASE("Rows walk a view in order, whatever its strides") {
  std::vector<float> memory(2 * 3 * 5);
  std::iota(memory.begin(), memory.end(), 0.f);
  const View<float, 3> plain(memory.data(), {2, 3, 5});
  SECTION("along the last axis") {
    const kernel::Rows rows(plain);
    CHECK(rows.count() == 6);
    CHECK(rows.width() == 5);
    for (Index i = 0; i < 6; ++i) CHECK(*rows.row(i) == float(5 * i));
  }
  SECTION("of a permuted view") {
    const kernel::Rows rows(plain.permute({2, 0, 1}));
    CHECK(rows.count() == 10);
    CHECK(rows.stride() == 5);
    for (Index c = 0; c < 5; ++c)
      for (Index b = 0; b < 2; ++b) CHECK(*rows.row(2 * c + b) == plain(b, 0, c));
  }
  SECTION("along two axes, all, and none") {
    CHECK(*kernel::Rows(plain, 2).row(1) == 15);
    CHECK(kernel::Rows(plain, 3).count() == 1);
    CHECK(kernel::Rows(plain, 3).width() == 30);
    const kernel::Rows elements(plain, 0);
    CHECK(elements.width() == 1);
    for (Index i = 0; i < 30; ++i) CHECK(*elements.row(i) == float(i));
  }
}

TEMPLATE_TEST_CASE("Elements of any stride and storage come packed and go back", "", float, double, heed::bfloat16) {
  using T = heed::Compute<TestType>;
  for (const Index stride : {1, 3})
    for (const Index count : {1, 3, 17, 63}) {
      heed::test::Guarded<TestType> memory(std::size_t((count - 1) * stride + 1));
      std::vector<T> scratch(std::size_t(count), T(-1));
      for (Index i = 0; i < count; ++i) memory[std::size_t(i * stride)] = TestType(float(i + 1));
      const T* const in = kernel::packed<T>(memory.data(), stride, count, scratch.data());
      for (Index i = 0; i < count; ++i) CHECK(in[i] == T(i + 1));
      CHECK((in == scratch.data()) == !(stride == 1 && std::same_as<T, TestType>));

      T* const sum = kernel::packed_sum<T>(memory.data(), stride, count, scratch.data());
      for (Index i = 0; i < count; ++i) sum[i] += T(1);
      kernel::put<T>(sum, count, memory.data(), stride);
      for (Index i = 0; i < count; ++i) CHECK(float(memory[std::size_t(i * stride)]) == float(i + 2));
    }
}

TEST_CASE("Bands are added in order") {
  const std::vector<float> bands{1, 2, 3, 10, 20, 30};
  std::vector<float> sum{100, -1, 100, -1, 100};
  kernel::add_bands<float>(bands.data(), 2, View<float, 1>(sum.data(), {3}, {2}));
  CHECK(sum == std::vector<float>{111, -1, 122, -1, 133});
  kernel::add_bands<float>(bands.data(), 2, View<float, 1>());
}
