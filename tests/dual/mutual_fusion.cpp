// SPDX-License-Identifier: Apache-2.0
#include "heed/dual/mutual_fusion.hpp"

#include "heed/dual/channel_mutual_fusion.hpp"
#include "heed/dual/position_mutual_fusion.hpp"
#include "support/channel.hpp"

using heed::MutualNormalizer;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

namespace {

// r and d of two channels, of maps with three and one.
template <class Fusion>
void randomize(Fusion& op) {
  op.rgb = {{fill<4>({2, 3, 3, 3}), {}}, random_batch_norm(2)};
  op.depth = {{fill<4>({2, 1, 3, 3}), {}}, random_batch_norm(2)};
}

template <class Fusion>
Tensor<double, 4> halves(const Fusion& op, const Tensor<double, 4>& rgb, const Tensor<double, 4>& depth) {
  const auto same = heed::ConvOptions::same(3);
  return (op.rgb.relu(heed::DeviceRef(), rgb, same) + op.depth.relu(heed::DeviceRef(), depth, same)) * 0.5;
}

}  // namespace

TEST_CASE("Mutual fusions whose scores are equal give the mean, and their gradients") {
  auto rgb = random_tensor<double, 4>({2, 3, 4, 1}, 1), depth = random_tensor<double, 4>({2, 1, 4, 1}, 2);
  heed::PositionMutualFusion<double> position;
  heed::ChannelMutualFusion<double> channel;
  randomize(position);
  randomize(channel);
  for (const auto normalizer : {MutualNormalizer::kSoftmax, MutualNormalizer::kSigmoid}) {
    position.options.normalizer = channel.options.normalizer = normalizer;
    position.score = {fill<4>({2, 2, 5, 5}), fill<1>({2})};
    channel.fc1 = {fill<2>({3, 4}), fill<1>({3})};
    channel.fc2 = {fill<2>({4, 3}), fill<1>({4})};
    check_gradients([&](auto&, const auto& r, const auto& d) { return position(r, d); }, rgb, depth, position);
    check_gradients([&](auto&, const auto& r, const auto& d) { return channel(r, d); }, rgb, depth, channel);
    position.score.weight.setZero();
    position.score.bias.setZero();
    channel.fc2.weight.setZero();
    channel.fc2.bias.setZero();
    CHECK(error_of(position(rgb, depth), halves(position, rgb, depth)) < 1e-14);
    CHECK(error_of(channel(rgb, depth), halves(channel, rgb, depth)) < 1e-14);
  }
  CHECK_THROWS_AS(position(rgb, random_tensor<double, 4>({2, 1, 4, 2}, 2)), heed::Error);
  CHECK_THROWS_AS(channel(rgb, random_tensor<double, 4>({2, 2, 4, 1}, 2)), heed::Error);
}
