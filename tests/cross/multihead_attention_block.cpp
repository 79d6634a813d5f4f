// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/multihead_attention_block.hpp"

#include "heed/cross/induced_set_attention.hpp"
#include "heed/cross/pooling_by_multihead_attention.hpp"
#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

void fill_block(heed::MultiheadAttentionBlock<double>& block, Index c, Index query, Index key) {
  block.q = fresh_linear(c, query);
  block.k = fresh_linear(c, key);
  block.v = fresh_linear(c, key);
  block.out = fresh_linear(c, c);
  block.norm0 = fresh_norm(c);
  block.norm1 = fresh_norm(c);
}

Tensor<double, 3> naive(const heed::MultiheadAttentionBlock<double>& block, bool norm, const Tensor<double, 3>& query,
                        const Tensor<double, 3>& key) {
  NaiveAttention dense;
  dense.scale = 1 / std::sqrt(6.0);
  const auto q = apply(block.q, query);
  Tensor<double, 3> o = q + mixed(q, apply(block.k, key), apply(block.v, key), 2, dense);
  if (norm) o = block.norm0(o);
  o += apply(block.out, o).cwiseMax(0.0);
  return norm ? Tensor<double, 3>(block.norm1(o)) : o;
}

Tensor<double, 3> repeated(const Tensor<double, 2>& tokens, Index batch) {
  Tensor<double, 3> all(batch, tokens.dimension(0), tokens.dimension(1));
  for (Index b = 0; b < batch; ++b) all.chip(b, 0) = tokens;
  return all;
}

}  // namespace

TEST_CASE("multihead_attention_block, and the set operators that are made of it") {
  for (const bool norm : {false, true})
    for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {17, 3}}) {
      CAPTURE(norm, n, m);
      heed::MultiheadAttentionBlock<double> block{{.num_heads = 2, .layer_norm = norm}};
      fill_block(block, 6, 4, 5);
      const auto query = fresh<3>({2, n, 4}), key = fresh<3>({2, m, 5});
      CHECK(error_of(block(query, key), naive(block, norm, query, key)) < 1e-12);

      heed::InducedSetAttention<double> induced{{.num_heads = 2, .layer_norm = norm}};
      induced.inducing = fresh<2>({4, 6});
      fill_block(induced.block0, 6, 6, 5);
      fill_block(induced.block1, 6, 5, 6);
      const auto h = naive(induced.block0, norm, repeated(induced.inducing, 2), key);
      CHECK(error_of(induced(key), naive(induced.block1, norm, key, h)) < 1e-12);

      heed::PoolingByMultiheadAttention<double> pool{{.num_heads = 2, .layer_norm = norm}};
      pool.seeds = fresh<2>({n, 6});
      fill_block(pool.block, 6, 6, 6);
      const auto x = fresh<3>({2, m, 6});
      const auto got = pool(x);
      CHECK(error_of(got, naive(pool.block, norm, repeated(pool.seeds, 2), x)) < 1e-12);
      CHECK(error_of(pool(Tensor<double, 3>(x.reverse(Eigen::array<bool, 3>{false, true, false}))), got) < 1e-13);
    }
}
