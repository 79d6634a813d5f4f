// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/decoupled_cross_attention.hpp"

#include "heed/cross/dual_attention_adaptive_gate.hpp"
#include "heed/cross/pooled_dual_cross_attention.hpp"
#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

heed::KeyValueProjection<double> source(Index c, Index in) { return {fresh_linear(c, in), fresh_linear(c, in)}; }

Tensor<double, 3> read(const heed::KeyValueProjection<double>& part, const Tensor<double, 3>& q,
                       const Tensor<double, 3>& x) {
  return mixed(q, apply(part.k, x), apply(part.v, x), 2);
}

}  // namespace

TEST_CASE("decoupled_cross_attention is a sum of two attentions of one query") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {17, 3}, {4, 0}}) {
    CAPTURE(n, m);
    heed::DecoupledCrossAttention<double> attend{{.num_heads = 2, .image_scale = 0.6}};
    attend.q = fresh_linear(6, 6, false);
    attend.out = fresh_linear(6, 6);
    attend.text = source(6, 5);
    attend.image = source(6, 5);
    const auto x = fresh<3>({2, n, 6}), text = fresh<3>({2, 4, 5}), image = fresh<3>({2, m, 5});
    const auto q = apply(attend.q, x);
    const Tensor<double, 3> sum = read(attend.text, q, text) + read(attend.image, q, image) * 0.6;
    CHECK(error_of(attend(x, text, image), apply(attend.out, sum)) < 1e-12);
    attend.options.image_scale = 0;
    CHECK(error_of(attend(x, text, image), apply(attend.out, read(attend.text, q, text))) < 1e-12);
    attend.options.image_scale = kNaN;
    CHECK_THROWS_AS(attend(x, text, image), heed::Error);
  }
}

TEST_CASE("dual_attention_adaptive_gate: the style comes through the gate") {
  for (const Index gates : {1, 2}) {
    heed::DualAttentionAdaptiveGate<double> attend{{.num_heads = 2}};
    attend.q = fresh_linear(6, 6);
    attend.out = fresh_linear(6, 6);
    attend.timbre = source(6, 5);
    attend.style = source(6, 4);
    attend.gate = fresh<1>({gates});
    const auto x = fresh<3>({2, 3, 6}), timbre = fresh<3>({2, 4, 5}), style = fresh<3>({2, 17, 4});
    const auto q = apply(attend.q, x);
    auto sum = read(attend.timbre, q, timbre);
    const auto of_style = read(attend.style, q, style);
    for (Index e = 0; e < sum.size(); ++e)
      sum.data()[e] += std::tanh(attend.gate(gates == 1 ? 0 : e % 6 / 3)) * of_style.data()[e];
    CHECK(error_of(attend(x, timbre, style), apply(attend.out, sum)) < 1e-12);

    // A closed gate: the timbre alone, bit for bit.
    attend.gate.setZero();
    const auto other = fresh<3>({2, 1, 4});
    CHECK(error_of(attend(x, timbre, style), attend(x, timbre, other)) == 0);
    attend.gate.resize(3);
    CHECK_THROWS_WITH(attend(x, timbre, style),
                      "dual_attention_adaptive_gate: gate must have shape (1) or (H) = (2), got (3)");
  }
}

TEST_CASE("pooled_dual_cross_attention: each part of the sequence has its own attention") {
  heed::PooledDualCrossAttention<double> attend{{.num_heads = 2}};
  for (auto* part : {&attend.v2v, &attend.t2v}) {
    part->q = fresh_linear(6, 6, false);
    part->source = source(6, 6);
    part->gate = fresh<1>({1});
  }
  const auto hidden = fresh<3>({2, 5, 6}), visual = fresh<3>({2, 17, 6});
  for (const Index first : {0, 1, 3, 5}) {
    attend.options.num_visual = first;
    const auto got = attend(hidden, visual);
    for (const bool pooled : {true, false}) {
      const auto& part = pooled ? attend.v2v : attend.t2v;
      const Index begin = pooled ? 0 : first, count = pooled ? first : 5 - first;
      const Tensor<double, 3> h = heed::contiguous(heed::view(hidden).slice(1, begin, count));
      const Tensor<double, 3> want = h + read(part.source, apply(part.q, h), visual) * std::tanh(part.gate(0));
      CHECK(error_of(heed::view(got).slice(1, begin, count), want) < 1e-12);
    }
  }
  attend.options.num_visual = 6;
  CHECK_THROWS_WITH(attend(hidden, visual),
                    "pooled_dual_cross_attention: num_visual must be in 0 .. 5, the tokens of hidden, got 6");
}
