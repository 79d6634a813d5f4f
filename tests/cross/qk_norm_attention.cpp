// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/qk_norm_attention.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::QueryKeyNorm;
using heed::Tensor;

namespace {

heed::QkNormAttention<double> attention(QueryKeyNorm norm, Index heads, Index width) {
  heed::QkNormAttention<double> attend{{.num_heads = heads, .norm = norm}};
  fill_projections(attend, heads * width, heads * width, heads * width);
  attend.q_norm = fresh_norm(width);
  attend.k_norm = fresh_norm(width);
  attend.scale = fresh<1>({heads});
  return attend;
}

// One head of one token as the norm leaves it.
void normalize(QueryKeyNorm norm, const heed::LayerNorm<double>& layer, Tensor<double, 3>& x, Index heads) {
  const Index width = x.dimension(2) / heads;
  for (Index row = 0; row < x.size() / width; ++row) {
    double* v = x.data() + row * width;
    double mean = 0, squares = 0;
    for (Index d = 0; d < width; ++d) mean += norm == QueryKeyNorm::kLayer ? v[d] / double(width) : 0;
    for (Index d = 0; d < width; ++d) squares += (v[d] - mean) * (v[d] - mean);
    const double length =
        norm == QueryKeyNorm::kL2 ? std::max(std::sqrt(squares), 1e-12) : std::sqrt(squares / double(width) + 1e-6);
    for (Index d = 0; d < width; ++d) {
      v[d] = (v[d] - mean) / length;
      if (norm != QueryKeyNorm::kL2) v[d] *= layer.weight(d);
      if (norm == QueryKeyNorm::kLayer) v[d] += layer.bias(d);
    }
  }
}

}  // namespace

TEST_CASE("qk_norm_attention is attention of normalised heads") {
  for (const auto norm : {QueryKeyNorm::kNone, QueryKeyNorm::kRms, QueryKeyNorm::kLayer, QueryKeyNorm::kL2})
    for (const Index n : {1, 3, 17}) {
      CAPTURE(int(norm), n);
      const auto attend = attention(norm, 3, 4);
      auto x = fresh<3>({2, n, 12});
      if (norm == QueryKeyNorm::kL2) x.chip(0, 1).setZero();
      auto q = apply(attend.q, x), k = apply(attend.k, x);
      if (norm != QueryKeyNorm::kNone) {
        normalize(norm, attend.q_norm, q, 3);
        normalize(norm, attend.k_norm, k, 3);
      }
      NaiveAttention naive;
      if (norm == QueryKeyNorm::kL2) {
        naive.scale = 1;
        naive.score = [&](double s, Index, Index h, Index, Index) { return s * attend.scale(h); };
      }
      const auto want = apply(attend.out, mixed(q, k, apply(attend.v, x), 3, naive));
      CHECK(error_of(attend(x), want) < 1e-12);
    }
}

TEST_CASE("qk_norm_attention: a vector of zeros stays one, and what does not fit") {
  auto attend = attention(QueryKeyNorm::kL2, 2, 3);
  attend.q.weight.setZero();
  attend.q.bias.setZero();
  const auto x = fresh<3>({1, 4, 6});
  const auto y = attend(x);
  for (Index c = 0; c < 6; ++c) CHECK(std::abs(y(0, 0, c) - y(0, 3, c)) < 1e-14);
  attend.scale.resize(3);
  CHECK_THROWS_WITH(attend(x), "qk_norm_attention: scale must have shape (1) or (H) = (2), got (3)");
  attend.options.num_heads = 4;
  CHECK_THROWS_WITH(attend(x), "qk_norm_attention: C = 6 must be a multiple of num_heads = 4");
}
