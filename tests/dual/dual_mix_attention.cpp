// SPDX-License-Identifier: Apache-2.0
#include "heed/dual/dual_mix_attention.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::DeviceRef;
using heed::Index;
using heed::Tensor;

namespace {

heed::DualMixAttention<double> mix(Index channels, Index inner) {
  heed::DualMixAttention<double> op{{.num_heads = 2}};
  op.channel.gamma = fresh<1>({1});
  op.spatial.conv.weight = fresh<4>({1, 2, 3, 3});
  for (auto* part : {&op.spatial_attn, &op.channel_attn})
    fill_projections(*part, inner, channels, channels, part == &op.channel_attn);
  op.ln = fresh_norm(channels);
  return op;
}

}  // namespace

TEST_CASE("dual_mix_attention: tokens ask both maps, and the maps are added") {
  for (const auto& [h, w, count] : {std::array<Index, 3>{1, 1, 1}, {3, 5, 17}, {1, 7, 3}}) {
    const auto op = mix(4, 6);
    const auto x = fresh<4>({2, 4, h, w}), pos = fresh<4>({2, 4, h, w});
    const auto tokens = fresh<3>({2, count, 4});
    const Tensor<double, 4> z = x + pos;
    const auto flat = [n = h * w](const Tensor<double, 4>& map) {
      return Tensor<double, 3>(map.reshape(Eigen::array<Index, 3>{2, 4, n}).shuffle(Eigen::array<int, 3>{0, 2, 1}));
    };
    const auto s = flat(op.spatial(DeviceRef(), z)), c = flat(op.channel(DeviceRef(), z));
    Tensor<double, 3> sum = tokens;
    for (const auto& [part, map] : {std::pair(&op.spatial_attn, &s), {&op.channel_attn, &c}})
      sum += apply(part->out, mixed(apply(part->q, tokens), apply(part->k, *map), apply(part->v, *map), 2));
    const auto got = op(tokens, x, pos);
    CHECK(error_of(got.tokens, op.ln(sum)) < 1e-12);
    CHECK(error_of(got.x, Tensor<double, 3>(s + c)) < 1e-14);
    CHECK(op(Tensor<double, 3>(2, 0, 4), x, pos).tokens.size() == 0);

    CHECK_THROWS_WITH(op(tokens, x, fresh<4>({2, 4, h, w + 1})),
                      contains("dual_mix_attention: pos must have shape (2, 4"));
    CHECK_THROWS_WITH(op(fresh<3>({2, count, 3}), x, pos), contains("dual_mix_attention: tokens must have shape (2, "));
    CHECK_THROWS_AS(op(tokens, Tensor<double, 4>(2, 4, 0, w), Tensor<double, 4>(2, 4, 0, w)), heed::Error);
  }
}
