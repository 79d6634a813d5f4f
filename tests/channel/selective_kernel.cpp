// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/selective_kernel.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("selective_kernel sums its branches by a softmax for each channel") {
  using Kernel = heed::SelectiveKernel<double>;
  auto x = random_tensor<double, 4>({2, 4, 3, 4}, 1);
  Kernel op({.dilations = {1, 2, 1}, .stride = 2});
  op.branches[0].conv.weight = fill<4>({4, 4, 3, 3});
  op.branches[1].conv.weight = fill<4>({4, 1, 3, 3});
  op.branches[2].conv.weight = fill<4>({4, 2, 1, 1});
  for (auto& branch : op.branches) {
    branch.bn = random_batch_norm(4);
    branch.head = {fill<2>({4, 3}), fill<1>({4})};
  }
  op.fc = {fill<2>({3, 4}), {}};
  op.fc_bn = random_batch_norm(3);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);

  // Equal branches are their own mean, whatever the weights.
  Kernel twins({.dilations = {1, 1}});
  twins.branches = {op.branches[0], op.branches[0]};
  twins.branches[1].head.weight = fill<2>({4, 3});
  twins.fc = op.fc;
  twins.fc_bn = op.fc_bn;
  Kernel one({.dilations = {1}});
  one.branches = {op.branches[0]};
  one.fc = op.fc;
  one.fc_bn = op.fc_bn;
  CHECK(error_of(twins(x), one(x)) < 1e-14);
  CHECK_THROWS_AS(Kernel({.dilations = {}}), heed::Error);
}
