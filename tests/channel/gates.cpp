// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/cbam.hpp"
#include "heed/channel/scse.hpp"
#include "heed/channel/simam.hpp"
#include "heed/channel/triplet_attention.hpp"
#include "support/channel.hpp"
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;
TEST_CASE("g") {
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  heed::Cbam<double> op;
  using Pool = heed::ChannelGate<double>::Pool;
  op.channel.options.pools = {Pool::kMean, Pool::kMax, Pool::kLp, Pool::kLse};
  op.channel.fc1 = {fill<2>({2, 4}), fill<1>({2})};
  op.channel.fc2 = {fill<2>({4, 2}), fill<1>({4})};
  op.spatial.conv.weight = fill<4>({1, 2, 3, 3});
  op.spatial.bn = heed::test::random_batch_norm(1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  op.spatial.options = {op.spatial.options.order, true};
  check_gradients([&](auto&, const auto& v) { return op.spatial(v); }, x, op.spatial);
  for (bool add : {false, true}) {
    heed::Scse<double> s{{add ? heed::Scse<double>::Combine::kAdd : heed::Scse<double>::Combine::kMax},
                         {fill<2>({2, 4}), fill<1>({2})},
                         {fill<2>({4, 2}), fill<1>({4})},
                         fill<1>({4}),
                         fill<1>({1})};
    check_gradients([&](auto&, const auto& v) { return s(v); }, x, s);
  }
  heed::SimAm<double> sim;
  check_gradients([&](auto&, const auto& v) { return sim(v); }, x);
  heed::TripletAttention<double> t;
  for (auto* g : {&t.cw, &t.hc, &t.hw}) {
    g->conv.weight = fill<4>({1, 2, 3, 3});
    g->bn = heed::test::random_batch_norm(1);
  }
  check_gradients([&](auto&, const auto& v) { return t(v); }, x, t);
}
