// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/dual_scope_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

TEST_CASE("dual_scope_attention: frames of zeros count, frames of both scopes count twice") {
  struct Case {
    Index frames, clips, padding, top_k;
    bool token_num_scale;
    std::vector<Index> sampled;
  };
  for (const Case& c : {Case{12, 3, 2, 6, false, {0, 2, 4, 6, 8, 10}}, Case{20, 4, 5, 3, true, {0, 5, 10}},
                        Case{18, 2, 3, 5, true, {0, 4, 8, 9, 13}}, Case{3, 3, 1, 0, false, {}},
                        Case{17, 1, 0, 40, false, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}}) {
    const heed::DualScopeAttention attend{{.world_size = c.clips,
                                           .padding = c.padding,
                                           .top_k = c.top_k,
                                           .attn_scale = 1.2,
                                           .token_num_scale = c.token_num_scale,
                                           .local_bias = 0.5,
                                           .global_bias = -1}};
    const auto q = random_tensor<float, 4>({2, 2, c.frames, 4}, 1), k = random_tensor<float, 4>({2, 2, c.frames, 4}, 2);
    const auto v = random_tensor<float, 4>({2, 2, c.frames, 3}, 3);
    const Index sampled = Index(c.sampled.size()), keys = c.frames + 2 * c.padding;
    const auto extended = [&](const Tensor<float, 4>& x) {
      Tensor<float, 4> all(2, 2, keys + sampled, x.dimension(3));
      all.setZero();
      for (Index j = 0; j < keys + sampled; ++j) {
        const Index frame = j < keys ? j - c.padding : c.sampled[std::size_t(j - keys)];
        if (frame >= 0 && frame < c.frames) all.chip(j, 2) = x.chip(frame, 2);
      }
      return all;
    };
    NaiveAttention naive;
    naive.scale = 1.2 / 2;
    if (c.token_num_scale) *naive.scale *= std::log(double(2 * c.padding + 1 + sampled)) / std::log(16.0);
    naive.visible = [&](Index, Index, Index i, Index j) { return j >= keys || (j >= i && j <= i + 2 * c.padding); };
    naive.score = [&](double s, Index, Index, Index, Index j) { return j < keys ? s + 0.5 : s - 1; };
    CHECK(error_of(attend(q, k, v), naive(q, extended(k), extended(v)).out) < 1e-6);
  }
}

TEST_CASE("dual_scope_attention: errors") {
  const auto x = random_tensor<float, 4>({1, 1, 12, 4}, 1);
  const auto with = [&](const heed::DualScopeAttention::Options& options) {
    return heed::DualScopeAttention{options}(x, x, x);
  };
  CHECK_THROWS_WITH(with({.world_size = 5}),
                    "dual_scope_attention: world_size must be 1 or more and divide T = 12, got 5");
  CHECK_THROWS_WITH(with({.world_size = 4, .padding = 4}),
                    "dual_scope_attention: padding must be in 0 .. T / world_size = 3, got 4");
  CHECK_THROWS_AS(with({.padding = 1, .top_k = -1}), heed::Error);
}
