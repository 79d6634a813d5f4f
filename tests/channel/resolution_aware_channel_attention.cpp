// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/resolution_aware_channel_attention.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("resolution_aware_channel_attention squeezes by the resolution") {
  using Op = heed::ResolutionAwareChannelAttention<double>;
  Op op;
  op.fc1.weight = fill<2>({1, 5});
  op.fc2.weight = fill<2>({5, 1});
  auto x = random_tensor<double, 4>({2, 5, 3, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  op.options.resolution = Op::Resolution::kFine;
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  CHECK_THROWS_WITH(op(Tensor<double, 4>(2, 5, 0, 1)),
                    "resolution_aware_channel_attention: x must have positions, got shape (2, 5, 0, 1)");
}
