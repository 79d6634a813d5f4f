// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/mixer_gating_unit.hpp"

#include "heed/linear/ninformer_block.hpp"
#include "support/mixers.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::layer;
using heed::test::random_layer_norm;
using heed::test::random_mlp;
using heed::test::random_tensor;

namespace {

heed::MixerGatingUnit<double> random_unit(Index tokens, Index channels) {
  return {{random_layer_norm(channels), random_mlp(tokens, 2)},
          {random_layer_norm(channels), random_mlp(channels, 4)},
          layer(channels, channels)};
}

}  // namespace

TEST_CASE("mixer_gating_unit: MLPs that give nothing leave the product of x and its projection") {
  auto x = random_tensor<double, 3>({2, 3, 4}, 1);
  auto unit = random_unit(3, 4);
  check_gradients([&](auto&, const auto& v) { return unit(v); }, x, unit);
  CHECK_THROWS_WITH(unit(random_tensor<double, 3>({2, 5, 4}, 1)),
                    "mixer_gating_unit: token.fc1.weight must have shape (2, 5), got (2, 3)");
  for (auto* mlp : {&unit.token.mlp, &unit.channel.mlp}) {
    mlp->fc2.weight.setZero();
    mlp->fc2.bias.setZero();
  }
  const Tensor<double, 3> want = unit.proj(x) * x;
  CHECK(error_of(unit(x), want) < 1e-14);
}

TEST_CASE("ninformer_block shares one norm between its two parts") {
  auto x = random_tensor<double, 3>({1, 3, 4}, 1);
  heed::NinformerBlock<double> block{random_unit(3, 4), random_layer_norm(4), random_mlp(4, 5)};
  check_gradients([&](auto&, const auto& v) { return block(v); }, x, block);
  const Tensor<double, 3> y = x + block.mgu(block.norm(x));
  const Tensor<double, 3> want = y + block.ffn(heed::DeviceRef(), heed::Gelu(), block.norm(y));
  CHECK(error_of(block(x), want) < 1e-14);
  block.ffn.fc2.weight = random_tensor<double, 2>({4, 6}, 1);
  CHECK_THROWS_AS(block(x), heed::Error);
}
