// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/l2_normalize.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

using heed::L2NormalizeOptions;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("l2_normalize on a tape: rows longer and shorter than eps, of a view") {
  auto x = random_tensor<double, 3>({2, 7, 3}, 1);
  for (const L2NormalizeOptions& options :
       {L2NormalizeOptions{}, {.eps = 2.5}, {.eps = 1e3}, {.eps = 2, .eps_inside = true}})
    check_gradients([&](auto&, const auto& v) { return heed::l2_normalize(v.permute({0, 2, 1}), options); }, x);
}
