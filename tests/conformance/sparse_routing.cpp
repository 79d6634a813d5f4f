// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/sparse_routing.md.
#include "heed/sparse/block_sparse_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_block_sparse_attention(Registry& add) {
  add("block_sparse_attention", []<class C>(C& c) {
    const heed::BlockSparseAttention attend{{.q_block_size = c.integer("q_block_size"),
                                             .k_block_size = c.integer("k_block_size"),
                                             .causal = c.flag("causal"),
                                             .scale = c.number_or_null("scale")}};
    c.out("out", attend(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.mask(rank<4>, "block_mask")));
  });
}

void add_sparse_routing(Registry& add) { add_block_sparse_attention(add); }

const Adapters kSparseRouting{add_sparse_routing};

}  // namespace

}  // namespace conformance
