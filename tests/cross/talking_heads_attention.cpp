// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/talking_heads_attention.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

// Hk heads of scores, H of weights, Hv of values.
heed::TalkingHeadsAttention<double> attention(Index c, Index hk, Index h, Index hv, bool bias) {
  heed::TalkingHeadsAttention<double> attend;
  attend.q = fresh_linear(hk * 4, c, bias);
  attend.k = fresh_linear(hk * 4, c, bias);
  attend.v = fresh_linear(hv * 2, c, bias);
  attend.talk_logits = fresh_linear(h, hk, bias);
  attend.talk_weights = fresh_linear(hv, h, bias);
  attend.out = fresh_linear(c, hv * 2);
  return attend;
}

Tensor<double, 3> naive(const heed::TalkingHeadsAttention<double>& attend, const Tensor<double, 3>& x) {
  const Index hk = attend.talk_logits.weight.dimension(1), h = attend.talk_logits.weight.dimension(0),
              hv = attend.talk_weights.weight.dimension(0), n = x.dimension(1);
  const auto q = heads_of(apply(attend.q, x), hk), k = heads_of(apply(attend.k, x), hk);
  const auto v = heads_of(apply(attend.v, x), hv);
  Tensor<double, 4> mix(x.dimension(0), hv, n, 2), p(x.dimension(0), h, n, n);
  mix.setZero();
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index i = 0; i < n; ++i) {
      for (Index g = 0; g < h; ++g) {
        double sum = 0;
        for (Index j = 0; j < n; ++j) {
          double logit = 0;
          for (Index e = 0; e < hk; ++e)
            for (Index d = 0; d < 4; ++d) logit += attend.talk_logits.weight(g, e) * q(b, e, i, d) * k(b, e, j, d) / 2;
          sum += p(b, g, i, j) = std::exp(logit);
        }
        for (Index j = 0; j < n; ++j) p(b, g, i, j) /= sum;
      }
      for (Index g = 0; g < hv; ++g)
        for (Index j = 0; j < n; ++j) {
          double weight = attend.talk_weights.bias.size() > 0 ? attend.talk_weights.bias(g) : 0;
          for (Index e = 0; e < h; ++e) weight += attend.talk_weights.weight(g, e) * p(b, e, i, j);
          for (Index d = 0; d < 2; ++d) mix(b, g, i, d) += weight * v(b, g, j, d);
        }
    }
  return apply(attend.out, merged(mix));
}

}  // namespace

TEST_CASE("talking_heads_attention is its definition, with any numbers of heads") {
  for (const auto& [hk, h, hv] : {std::array<Index, 3>{2, 2, 2}, {1, 3, 2}, {4, 2, 1}})
    for (const Index n : {1, 3, 17}) {
      CAPTURE(hk, h, hv, n);
      const auto attend = attention(6, hk, h, hv, n != 3);
      const auto x = fresh<3>({2, n, 6});
      CHECK(error_of(attend(x), naive(attend, x)) < 1e-12);
    }
}

TEST_CASE("talking_heads_attention: layers that do not fit each other") {
  auto attend = attention(6, 2, 3, 2, false);
  attend.k = fresh_linear(4, 6, false);
  CHECK_THROWS_AS(attend(fresh<3>({1, 2, 6})), heed::Error);
  attend = attention(6, 2, 3, 2, false);
  attend.talk_weights = fresh_linear(2, 2, false);
  CHECK_THROWS_AS(attend(fresh<3>({1, 2, 6})), heed::Error);
}
