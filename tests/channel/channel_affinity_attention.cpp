// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/channel_affinity_attention.hpp"

#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("channel_affinity_attention mixes channels beside the map") {
  heed::ChannelAffinityAttention<double> op;
  op.gamma = random_tensor<double, 1>({1}, 2);
  auto x = random_tensor<double, 4>({2, 3, 3, 4}, 1, 0.3);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  op.options.inverted = false;
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
}

TEST_CASE("channel_affinity_attention favours unlike channels, or like ones, without overflow") {
  heed::ChannelAffinityAttention<float> op;
  op.gamma.resize(1);
  op.gamma.setConstant(1);
  Tensor<float, 4> x(1, 2, 17, 17);  // scores of 29 million and their negative
  x.chip<1>(0).setConstant(100);
  x.chip<1>(1).setConstant(-100);
  CHECK(op(x)(0, 0, 3, 3) == 0);
  op.options.inverted = false;
  CHECK(op(x)(0, 0, 3, 3) == 200);
  CHECK_THROWS_AS(op(Tensor<float, 4>(1, 2, 3, 0)), heed::Error);
}
