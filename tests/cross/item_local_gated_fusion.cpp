// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/item_local_gated_fusion.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

namespace {

heed::ItemLocalGatedFusion<double> fusion(Index c, Index length, heed::ItemMode mode) {
  heed::ItemLocalGatedFusion<double> fuse({.num_heads = 2, .item_length = length, .mode = mode, .eps = 0.01});
  fuse.position.weight = fresh<2>({length + 2, c});
  for (auto* norm : {&fuse.attn_norm, &fuse.ffn_norm}) {
    norm->weight = fresh<1>({c});
    norm->bias = fresh<1>({c});
  }
  fuse.q = fresh_linear(c, c);
  fuse.k = fresh_linear(c, c);
  fuse.v = fresh_linear(c, c);
  fuse.ffn = fresh_mlp(c, 7, c);
  fuse.gate = fresh<2>({2, c});
  return fuse;
}

}  // namespace

TEST_CASE("item_local_gated_fusion: a token changes its own item alone, and the end belongs to the last tokens") {
  const auto fuse = fusion(6, 4, heed::ItemMode::kEncoder);
  const Index n = 18;  // items 0..3, .., 12..15 and 16, 17; the last token is 17, with 13..16 at the end
  const auto x = fresh<3>({1, n, 6});
  const auto before = fuse(x);
  for (const Index token : {0, 5, 12, 13, 16, 17}) {
    auto changed = x;
    changed(0, token, 2) += 1;
    const auto after = fuse(changed);
    for (Index i = 0; i < n; ++i) {
      CAPTURE(token, i);
      const bool sees = i / 4 == token / 4 || (i >= 13 && token >= 13);
      double difference = 0;
      for (Index c = 0; c < 6; ++c) difference = std::max(difference, std::abs(after(0, i, c) - before(0, i, c)));
      CHECK((difference > 0) == sees);
    }
  }
}

TEST_CASE("item_local_gated_fusion: the decoder is causal, padding takes no attention") {
  const auto decode = fusion(6, 4, heed::ItemMode::kDecoder);
  const auto x = fresh<3>({2, 5, 6});
  const Tensor<double, 3> first = x.slice(Eigen::array<Index, 3>{0, 0, 0}, Eigen::array<Index, 3>{2, 3, 6});
  const Tensor<double, 3> want = decode(x).slice(Eigen::array<Index, 3>{0, 0, 0}, Eigen::array<Index, 3>{2, 3, 6});
  CHECK(error_of(decode(first), want) < 1e-13);
  CHECK_THROWS_WITH(decode(fresh<3>({1, 6, 6})), heed::test::contains("does not fit N = 6"));

  const auto encode = fusion(6, 4, heed::ItemMode::kEncoder);
  Tensor<std::uint8_t, 2> valid(2, 5);
  valid.setConstant(1);
  const auto all = encode(x, valid);
  CHECK(error_of(encode(x), all) == 0);
  valid(1, 2) = 0;
  const auto some = encode(x, valid);
  for (Index i = 0; i < 5; ++i) CHECK((some(1, i, 0) == all(1, i, 0)) == (i != 2));
  CHECK_THROWS_AS(encode(fresh<3>({1, 4, 6})), heed::Error);
}
