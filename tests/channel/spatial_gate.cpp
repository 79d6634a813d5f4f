// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/spatial_gate.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("spatial_gate scales positions, all channels alike") {
  using Gate = heed::SpatialGate<double>;
  auto x = random_tensor<double, 4>({2, 3, 4, 2}, 1);
  Gate gate;
  for (const Index k : {3, 7}) {  // the second is larger than the map
    gate.conv.weight = fill<4>({1, 2, k, k});
    for (const bool norm : {true, false}) {
      gate.bn = norm ? random_batch_norm(1) : heed::BatchNorm<double>();
      gate.options = {norm ? Gate::Order::kMaxMean : Gate::Order::kMeanMax, !norm};
      check_gradients([&](auto&, const auto& v) { return gate(v); }, x, gate);
      const Tensor<double, 4> y = gate(x);
      CHECK(y(1, 0, 3, 1) / x(1, 0, 3, 1) == Approx(y(1, 2, 3, 1) / x(1, 2, 3, 1)));
    }
  }
  // The order of the statistics is the order of the kernel's channels.
  gate.options = {Gate::Order::kMaxMean, false};
  const Tensor<double, 4> y = gate(x);
  gate.options.order = Gate::Order::kMeanMax;
  gate.conv.weight = Tensor<double, 4>(gate.conv.weight.reverse(std::array<bool, 4>{false, true, false, false}));
  CHECK(error_of(gate(x), y) < 1e-15);
  gate.conv.weight = fill<4>({1, 2, 2, 2});
  CHECK_THROWS_WITH(gate(x), "spatial_gate: conv.weight must have an odd kernel, got 2");
}
