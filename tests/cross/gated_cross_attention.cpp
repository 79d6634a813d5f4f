// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/gated_cross_attention.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("gated_cross_attention: text reads the media before it") {
  for (const auto& [n, media] : {std::pair<Index, Index>{1, 1}, {3, 2}, {40, 3}})
    for (const bool only_immediate : {false, true}) {
      CAPTURE(n, media, only_immediate);
      heed::GatedCrossAttention<double> block{{.num_heads = 2, .only_immediate = only_immediate}};
      block.norm = fresh_norm(5);
      block.ffn_norm = fresh_norm(5);
      fill_projections(block, 6, 5, 4, false);
      block.ffn = fresh_mlp(5, 7, 5, false);
      block.attn_gate = fresh<1>({1});
      block.ffn_gate = fresh<1>({1});
      const auto x = fresh<3>({2, n, 5});
      const auto tokens = fresh<4>({2, media, 3, 4});
      // Batch 0 has more marks than media, batch 1 none before its last token.
      auto marks = random_mask<2>({2, n}, 3, 0.3);
      for (Index i = 0; i + 1 < n; ++i) marks(1, i) = 0;
      NaiveAttention naive;
      naive.visible = [&](Index b, Index, Index i, Index j) {
        Index seen = 0;
        for (Index e = 0; e <= i; ++e) seen += marks(b, e);
        const Index medium = j / 3 + 1;
        return only_immediate ? medium == seen : medium <= seen;
      };
      const Tensor<double, 3> flat = tokens.reshape(Eigen::DSizes<Index, 3>(2, media * 3, 4));
      const auto o =
          apply(block.out, mixed(apply(block.q, block.norm(x)), apply(block.k, flat), apply(block.v, flat), 2, naive));
      const Tensor<double, 3> y = x + o * std::tanh(block.attn_gate(0));
      const Tensor<double, 3> inner = block.ffn(heed::DeviceRef(), heed::Gelu(), block.ffn_norm(y));
      CHECK(error_of(block(x, tokens, marks), Tensor<double, 3>(y + inner * std::tanh(block.ffn_gate(0)))) < 1e-12);

      // A closed gate changes nothing.
      block.attn_gate.setZero();
      block.ffn_gate.setZero();
      CHECK(error_of(block(x, tokens, marks), x) == 0);
      block.ffn_gate.resize(2);
      CHECK_THROWS_WITH(block(x, tokens, marks), "gated_cross_attention: attn_gate and ffn_gate must have shape (1)");
    }
}
