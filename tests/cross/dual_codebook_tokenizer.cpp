// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/dual_codebook_tokenizer.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("dual_codebook_tokenizer: each stream has its own codes, and its result is made of them") {
  heed::DualCodebookTokenizer<double> tokenize({.num_heads = 2, .depth_pixel = 2, .depth_semantic = 1});
  const auto fill = [](heed::AttentionalProjection<double>& p, Index a, Index b) {
    const Index w = std::max(a, b);
    p.q = fresh_linear(w, a);
    p.k = fresh_linear(w, a, false);
    p.v = fresh_linear(w, a);
    p.out = fresh_linear(b, b);
    p.proj = fresh_linear(b, a);
    p.mlp.fc1 = fresh_linear(2 * b, b);
    p.mlp.fc2 = fresh_linear(2 * b, b);
    p.mlp.fc3 = fresh_linear(b, 2 * b);
  };
  fill(tokenize.pre_pixel, 8, 4);
  fill(tokenize.pre_semantic, 8, 4);
  fill(tokenize.post_semantic, 4, 8);
  tokenize.quantize_pixel.codebook = fresh<3>({2, 17, 4});
  tokenize.quantize_semantic.codebook = fresh<3>({1, 17, 4});
  const auto early = fresh<3>({1, 3, 8}), late = fresh<3>({1, 3, 8});
  const auto got = tokenize(early, late);
  const auto other = tokenize(late, late);
  CHECK(error_of(got.semantic, other.semantic) == 0);
  for (Index n = 0; n < 3; ++n)
    for (Index c = 0; c < 4; ++c)
      CHECK(got.pixel(0, n, c) == Approx(tokenize.quantize_pixel.codebook(0, got.pixel_codes(0, n, 0), c) +
                                         tokenize.quantize_pixel.codebook(1, got.pixel_codes(0, n, 1), c)));
}
