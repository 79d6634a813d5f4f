// SPDX-License-Identifier: Apache-2.0
#include "heed/mixture_of_head/switchhead_attention.hpp"

#include "catch.hpp"
#include "support/self_attention.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("switchhead_attention with equal experts is its attention times the sums of the gates") {
  const Index tokens = 19;
  const auto x = random_tensor<float, 3>({2, tokens, 6}, 1);
  SwitchHeadAttention<float> attend{
      {.num_heads = 2, .num_experts = 3, .head_dim = 4, .top_k = 2, .rotate_fraction = 0}};
  attend.q = random_linear<float>(8, 6, false, 2);
  attend.k = random_linear<float>(8, 6, false, 3);
  const auto v = random_tensor<float, 3>({2, 6, 4}, 4), out = random_tensor<float, 3>({2, 4, 6}, 5);
  attend.v_experts.resize(6, 6, 4);
  attend.out_experts.resize(6, 4, 6);
  for (Index e = 0; e < 6; ++e) {
    attend.v_experts.chip<0>(e) = v.chip<0>(e / 3);
    attend.out_experts.chip<0>(e) = out.chip<0>(e / 3);
  }
  attend.v_router = Tensor<float, 2>(6, 6).setZero();  // two gates of one half: the value itself
  attend.out_router = attend.v_router;
  Linear<float> values{Tensor<float, 2>(8, 6), {}}, project{Tensor<float, 2>(6, 8), {}};
  for (Index h = 0; h < 2; ++h)
    for (Index c = 0; c < 6; ++c)
      for (Index d = 0; d < 4; ++d) {
        values.weight(h * 4 + d, c) = v(h, c, d);
        project.weight(c, h * 4 + d) = out(h, d, c);
      }
  NaiveAttention naive;
  naive.visible = [](Index, Index, Index i, Index j) { return j <= i; };
  const auto z =
      naive(heads_of(apply(attend.q, x), 2), heads_of(apply(attend.k, x), 2), heads_of(apply(values, x), 2)).out;
  Tensor<double, 3> flat(2, tokens, 8);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < tokens; ++n)
      for (Index c = 0; c < 8; ++c) flat(b, n, c) = z(b, c / 4, n, c % 4);
  CHECK(error_of(attend(x), apply(project, flat)) < 5e-6);

  // One expert: a gate on the heads alone.
  SwitchHeadAttention<float> one{{.num_heads = 2, .num_experts = 1, .head_dim = 4, .rotate_fraction = 0}};
  one.q = attend.q;
  one.k = attend.k;
  one.v = values;
  one.out = project;
  one.out_router = Tensor<float, 2>(2, 6).setZero();
  flat = flat * 0.5;
  CHECK(error_of(one(x), apply(project, flat)) < 5e-6);
  one.options.rotate_fraction = 0.4;
  CHECK_THROWS_AS(one(x), Error);
}
