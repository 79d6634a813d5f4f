// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/cross_attention_decoder_layer.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("cross_attention_decoder_layer: moves with its tokens, reads its context as a set") {
  heed::CrossAttentionDecoderLayer<double> decode{{.num_heads = 2}};
  heed::test::fill_projections(decode.self, 6, 6, 6);
  heed::test::fill_projections(decode.cross, 6, 6, 5);
  for (auto* norm : {&decode.norm1, &decode.norm2, &decode.norm3}) *norm = fresh_norm(6);
  decode.ffn = fresh_mlp(6, 7, 6);
  const Eigen::array<bool, 3> turn{false, true, false};
  for (const Index tokens : {1, 3, 17}) {
    const auto x = fresh<3>({2, tokens, 6}), context = fresh<3>({2, 4, 5});
    const auto got = decode(x, context);
    CHECK(error_of(decode(x, Tensor<double, 3>(context.reverse(turn))), got) < 1e-13);
    const Tensor<double, 3> back = decode(Tensor<double, 3>(x.reverse(turn)), context).reverse(turn);
    CHECK(error_of(back, got) < 1e-13);
  }
  CHECK_THROWS_WITH(decode(fresh<3>({2, 1, 6}), fresh<3>({2, 1, 6})), heed::test::contains("cross.k.weight"));
}
