// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/channel_attention_modulation.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("channel_attention_modulation gives each modality the other") {
  heed::ChannelAttentionModulation<double> op;
  op.conv = {fill<2>({3, 6}), fill<1>({3})};
  for (std::size_t j = 0; j < 2; ++j) {
    op.gate[j] = {{fill<2>({2, 3}), {}}, {fill<2>({3, 2}), {}}};
    auto& r = op.res[j];
    r.bn1 = heed::test::random_batch_norm(3);
    r.bn2 = r.bn3 = heed::test::random_batch_norm(1);
    r.conv1 = {fill<2>({1, 3}), fill<1>({1})};
    r.conv2 = {fill<4>({1, 1, 3, 3}), fill<1>({1})};
    r.conv3 = {fill<2>({3, 1}), fill<1>({3})};
  }
  auto a = random_tensor<double, 4>({2, 3, 3, 4}, 1), b = random_tensor<double, 4>({2, 3, 3, 4}, 2);
  const auto both = [&](auto&, const auto& x, const auto& y) {
    const auto result = op(x, y);
    return std::make_tuple(result.x1_out, result.x2_out);
  };
  check_gradients(both, a, b, op);

  // Modalities and their parameters exchanged: so are the results, but for the mix of both.
  const auto result = op(a, b);
  std::swap(op.gate[0], op.gate[1]);
  std::swap(op.res[0], op.res[1]);
  const Tensor<double, 2> weight = op.conv.weight;
  for (Index o = 0; o < 3; ++o)
    for (Index c = 0; c < 6; ++c) op.conv.weight(o, c) = weight(o, (c + 3) % 6);
  CHECK(op(b, a).x2_out(1, 2, 1, 3) == Approx(result.x1_out(1, 2, 1, 3)));
  CHECK_THROWS_AS(op(a, Tensor<double, 4>(2, 3, 3, 3)), heed::Error);
  op.gate[0].fc1.weight = {};
  CHECK_THROWS_AS(op(a, b), heed::Error);
}
