// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/co_attention.hpp"

#include "heed/cross/bidirectional_cross_attention.hpp"
#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("co_attention: each stream reads the other") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {17, 3}}) {
    heed::CoAttention<double> attend{{.num_heads = 2}};
    attend.visual = {fresh_linear(6, 4), fresh_linear(6, 4), fresh_linear(6, 4), fresh_linear(4, 6), fresh_norm(4)};
    attend.text = {fresh_linear(6, 5), fresh_linear(6, 5), fresh_linear(6, 5), fresh_linear(5, 6), fresh_norm(5)};
    const auto visual = fresh<3>({2, n, 4}), text = fresh<3>({2, m, 5});
    auto mask = random_mask<2>({2, m}, 7, 0.5);
    for (Index j = 0; j < m; ++j) mask(1, j) = 0;
    const auto want = [&](const auto& own, const auto& x, const auto& other, const auto& y, const NaiveAttention& by) {
      const Tensor<double, 3> o = apply(own.out, mixed(apply(own.q, x), apply(other.k, y), apply(other.v, y), 2, by));
      return heed::layer_norm(Tensor<double, 3>(x + o), own.norm.weight, own.norm.bias, 1e-12);
    };
    NaiveAttention masked;
    masked.visible = [&](Index b, Index, Index, Index j) { return mask(b, j) != 0; };
    const auto got = attend(visual, text, {.text_mask = heed::const_view(mask)});
    CHECK(error_of(got.visual_out, want(attend.visual, visual, attend.text, text, masked)) < 1e-11);
    CHECK(error_of(got.text_out, want(attend.text, text, attend.visual, visual, {})) < 1e-11);
  }
}

TEST_CASE("bidirectional_cross_attention: one set of scores, either way") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 4}, {3, 17}, {17, 3}}) {
    heed::BidirectionalCrossAttention<double> attend{{.num_heads = 2}};
    attend.latent = {fresh_linear(6, 4), fresh_linear(6, 4), fresh_linear(4, 6)};
    attend.token = {fresh_linear(6, 5, false), fresh_linear(6, 5, false), fresh_linear(5, 6)};
    const auto latents = fresh<3>({2, n, 4}), tokens = fresh<3>({2, m, 5});
    const auto rl = apply(attend.latent.r, latents), rt = apply(attend.token.r, tokens);
    const auto got = attend(latents, tokens);
    CHECK(error_of(got.latents_out, apply(attend.latent.out, mixed(rl, rt, apply(attend.token.v, tokens), 2))) < 1e-12);
    CHECK(error_of(got.tokens_out, apply(attend.token.out, mixed(rt, rl, apply(attend.latent.v, latents), 2))) < 1e-12);
    // One latent: every token receives its value.
    if (n == 1) CHECK(std::abs(got.tokens_out(1, 0, 2) - got.tokens_out(1, 3, 2)) < 1e-14);
    CHECK_THROWS_AS(attend(fresh<3>({3, n, 4}), tokens), heed::Error);
  }
}
