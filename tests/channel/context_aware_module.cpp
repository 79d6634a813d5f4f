// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/context_aware_module.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("context_aware_module weighs contexts of several sizes") {
  heed::ContextAwareModule<double> op;
  for (auto& scale : op.scale) scale.weight = fill<2>({2, 2});
  op.contrast = {fill<2>({2, 2}), fill<1>({2})};
  op.out = {fill<2>({3, 4}), fill<1>({3})};
  for (const auto& sizes : {std::array<Index, 4>{1, 2, 4, 7}, {1, 2, 2, 1}}) {  // smaller than its grids
    auto x = random_tensor<double, 4>(sizes, 1);
    check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  }
  op.options.sizes[2] = 0;
  CHECK_THROWS_AS(op(random_tensor<double, 4>({1, 2, 4, 7}, 1)), heed::Error);
}
