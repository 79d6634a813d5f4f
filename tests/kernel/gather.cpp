// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/gather.hpp"

#include <vector>

#include "catch.hpp"

using heed::Index;
using heed::View;
namespace kernel = heed::kernel;

TEMPLATE_TEST_CASE("Rows are gathered, and added back in the order of their numbers", "", float, double) {
  using T = TestType;
  for (const Index width : {0, 1, 3, 17, 63}) {
    CAPTURE(width);
    const std::vector<std::int32_t> indices{4, 0, 4, 2, 4, 0};
    std::vector<T> table(std::size_t(5 * width)), rows(std::size_t(6 * width), T(-1)), sums(table.size(), T(1));
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = T(i) / 8;
    const kernel::Rows which(View<const std::int32_t, 1>(indices.data(), {6}), 0);
    const View<T, 2> gathered(rows.data(), {6, width});
    kernel::gather_rows(Eigen::DefaultDevice(), View<const T, 2>(table.data(), {5, width}), which,
                        kernel::Rows(gathered));
    kernel::scatter_add_rows<T>(Eigen::DefaultDevice(), kernel::Rows(View<const T, 2>(gathered)), which,
                                View<T, 2>(sums.data(), {5, width}));
    const std::vector<int> uses{2, 0, 1, 0, 3};
    for (Index c = 0; c < width; ++c) {
      for (Index i = 0; i < 6; ++i)
        CHECK(rows[std::size_t(i * width + c)] == table[std::size_t(indices[std::size_t(i)] * width + c)]);
      for (Index v = 0; v < 5; ++v)
        CHECK(sums[std::size_t(v * width + c)] == 1 + T(uses[std::size_t(v)]) * table[std::size_t(v * width + c)]);
    }
  }
}
