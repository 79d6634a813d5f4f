// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/gram.hpp"

#include <algorithm>
#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::View;
using heed::test::random_tensor;
namespace kernel = heed::kernel;

TEMPLATE_TEST_CASE("gram: products of all rows with all rows, and the squares of each", "", float, double) {
  using T = TestType;
  constexpr Index width = kernel::kPanelWidth<T>;
  std::vector<T> memory(std::size_t(kernel::kGramTile<T> + 64));
  T* tile = memory.data();
  while (reinterpret_cast<std::uintptr_t>(tile) % 64 != 0) ++tile;
  const double near = std::same_as<T, float> ? 1e-5 : 1e-13;
  for (const Index rows : {Index(1), Index(3), width})
    for (const Index others : {Index(1), std::min<Index>(17, width), width})
      for (const Index n : {0, 1, 3, 63, 64, 65, 200})
        for (const bool by_columns : {false, true}) {
          const auto a = random_tensor<T, 2>({rows, n}, 1);
          const auto b = by_columns ? random_tensor<T, 2>({n, others}, 2) : random_tensor<T, 2>({others, n}, 2);
          const View<const T, 2> from = by_columns ? heed::const_view(b).permute({1, 0}) : heed::const_view(b);
          std::fill_n(tile, kernel::kGramTile<T>, T(heed::test::kNaN));
          kernel::gram<T>(heed::const_view(a), from, tile);
          double worst = 0;
          const auto compare = [&](const View<const T, 2>& x, Index i, const View<const T, 2>& y, Index j, T got) {
            double sum = 0;
            for (Index c = 0; c < n; ++c) sum += double(x(i, c)) * double(y(j, c));
            worst = std::abs(double(got) - sum) <= worst ? worst : std::abs(double(got) - sum) / (1 + double(n));
          };
          const View<const T, 2> left(a);
          for (Index i = 0; i < rows; ++i) {
            compare(left, i, left, i, tile[width * width + i]);
            for (Index j = 0; j < others; ++j) compare(left, i, from, j, tile[i * width + j]);
          }
          for (Index j = 0; j < others; ++j) compare(from, j, from, j, tile[width * width + width + j]);
          CHECK(worst < near);
        }
}
