// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/triplet_attention.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("triplet_attention is the mean of spatial gates of the turned map") {
  heed::TripletAttention<double> triplet;
  for (auto* gate : {&triplet.cw, &triplet.hc, &triplet.hw}) {
    gate->conv.weight = fill<4>({1, 2, 3, 3});
    gate->bn = random_batch_norm(1);
  }
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  check_gradients([&](auto&, const auto& v) { return triplet(v); }, x, triplet);
  const auto turned = [&](const auto& gate, const std::array<int, 4>& order) {
    return Tensor<double, 4>(gate(Tensor<double, 4>(x.shuffle(order))).shuffle(order));
  };
  const Tensor<double, 4> rows = turned(triplet.cw, {0, 2, 1, 3}), columns = turned(triplet.hc, {0, 3, 2, 1});
  CHECK(error_of(triplet(x), Tensor<double, 4>((rows + columns + triplet.hw(x)) / 3.0)) < 1e-15);
  triplet.options.no_spatial = true;
  CHECK(error_of(triplet(x), Tensor<double, 4>((rows + columns) / 2.0)) < 1e-15);
}
