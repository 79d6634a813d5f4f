// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/max_pool.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of the largest of a window") {
  auto x = random_tensor<double, 4>({2, 3, 9, 7}, 1);
  const heed::PoolOptions options{.kernel = {3, 2}, .stride = {2, 3}, .padding = {1, 0}};
  check_gradients(
      [&](auto&, const auto& v) {
        return std::make_tuple(heed::max_pool(v, options), heed::adaptive_max_pool(v, std::array<Index, 2>{4, 5}));
      },
      x);
}
