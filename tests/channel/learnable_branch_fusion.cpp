// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/learnable_branch_fusion.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("learnable_branch_fusion weighs two branches") {
  auto u = random_tensor<double, 2>({3, 5}, 1), v = random_tensor<double, 2>({3, 5}, 2);
  for (const Index width : {1, 5}) {
    heed::LearnableBranchFusion<double> op{fill<1>({width}), fill<1>({1})};
    check_gradients([&](auto&, const auto& x, const auto& y) { return op(x, y); }, u, v, op);
    CHECK(op(u, v)(2, 4) == Approx(op.a(width - 1) * u(2, 4) + op.b(0) * v(2, 4)));
  }
  CHECK_THROWS_AS((heed::LearnableBranchFusion<double>{fill<1>({4}), fill<1>({1})}(u, v)), heed::Error);
}
