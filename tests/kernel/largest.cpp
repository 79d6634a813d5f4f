// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/largest.hpp"

#include "catch.hpp"
#include "heed/kernel/select_mass.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEMPLATE_TEST_CASE("largest_indices are those of top_k, ascending, ties to the lower index", "", float, double) {
  using T = TestType;
  for (const Index width : {1, 3, 17, 200, 1000})
    for (const int kind : {0, 1, 2, 3}) {
      auto row = random_tensor<T, 1>({width}, unsigned(width));
      for (Index i = 0; i < width; ++i) {
        if (kind == 1) row(i) = T(std::round(double(row(i))));  // many ties
        if (kind == 2) row(i) = T(3);
        if (kind == 3 && i % 3 == 0) row(i) = i % 2 == 0 ? T(kNaN) : -std::numeric_limits<T>::infinity();
        if (kind == 3 && i % 7 == 1) row(i) = std::numeric_limits<T>::infinity();
      }
      for (const Index k : {0, 1, 2, 16, 150, 999, 2000}) {
        std::vector<kernel::Ranked<T>> best(std::size_t(k) + 1), spare(kernel::kLargestSpare);
        std::vector<std::int32_t> want, list(std::size_t(k) + 1, -7);
        const Index count = kernel::top_k<T>(row.data(), width, k, best.data());
        for (Index s = 0; s < count; ++s) want.push_back(best[std::size_t(s)].index);
        std::sort(want.begin(), want.end());
        const Index got = kernel::largest_indices<T>(row.data(), width, k, list.data(), spare.data());
        CHECK(list[std::size_t(k)] == -7);
        list.resize(std::size_t(got));
        CHECK(list == want);
      }
    }
}

TEST_CASE("select_mass puts the fewest of the largest in front that reach the mass") {
  const auto values = random_tensor<double, 1>({101}, 1);
  for (const double mass : {-1.0, 0.0, 0.5, 7.0, 40.0, 1e9}) {
    std::vector<kernel::Ranked<double>> elements, sorted;
    for (Index i = 0; i < 101; ++i) elements.push_back({std::abs(values(i)), std::int32_t(i)});
    sorted = elements;
    std::sort(sorted.begin(), sorted.end(), kernel::ranks_before<double>);
    Index want = 0;
    for (double sum = 0; want == 0 || (want < 101 && sum < mass);) sum += sorted[std::size_t(want++)].value;
    const Index got = kernel::select_mass(elements.data(), 101, mass);
    REQUIRE(got == want);
    std::sort(elements.begin(), elements.begin() + got, kernel::ranks_before<double>);
    for (Index i = 0; i < got; ++i) CHECK(elements[std::size_t(i)].index == sorted[std::size_t(i)].index);
  }
}
