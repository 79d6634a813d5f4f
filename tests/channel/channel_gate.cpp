// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/channel_gate.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("channel_gate sums one network over its pools") {
  using Gate = heed::ChannelGate<double>;
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  Gate gate;
  gate.fc1 = {fill<2>({2, 4}), fill<1>({2})};
  gate.fc2 = {fill<2>({4, 2}), fill<1>({4})};
  for (const auto& pools : std::vector<std::vector<Gate::Pool>>{
           {Gate::Pool::kMean, Gate::Pool::kMax}, {Gate::Pool::kLp}, {Gate::Pool::kLse, Gate::Pool::kMean}}) {
    gate.options.pools = pools;
    check_gradients([&](auto&, const auto& v) { return gate(v); }, x, gate);
  }

  // A map of one value has the same mean and maximum; a pool counts as often as it is listed.
  Tensor<double, 4> flat(1, 4, 3, 3);
  flat.setConstant(0.7);
  gate.options.pools = {Gate::Pool::kMean, Gate::Pool::kMax};
  const Tensor<double, 4> both = gate(flat);
  gate.options.pools = {Gate::Pool::kMax, Gate::Pool::kMax};
  CHECK(error_of(gate(flat), both) < 1e-15);

  // A channel of zeros has no direction.
  Tensor<double, 4> zeros(1, 4, 2, 2);
  zeros.setZero();
  gate.options.pools = {Gate::Pool::kLp};
  heed::Tape<double> tape;
  const auto v = tape.input(zeros);
  tape.backward(gate(v), Tensor<double, 4>(zeros + 1.0));
  CHECK(std::isfinite(tape.grad(v)(0, 3, 1, 1)));

  gate.options.pools = {};
  CHECK_THROWS_WITH(gate(x), "channel_gate: options.pools must not be empty");
}
