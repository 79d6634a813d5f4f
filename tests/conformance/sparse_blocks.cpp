// SPDX-License-Identifier: Apache-2.0
// Adapters for the routing of blocks in mechanisms/sparse_routing.md.
#include "heed/sparse/moba_attention.hpp"
#include "heed/sparse/native_sparse_attention.hpp"
#include "heed/sparse/nsa_block_compress.hpp"
#include "heed/sparse/nsa_selection_scores.hpp"
#include "heed/sparse/vmoba_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_moba(Registry& add) {
  add("moba_attention", []<class C>(C& c) {
    const heed::MobaAttention op{{.block_size = c.integer("block_size"), .top_k = c.integer("top_k")}};
    c.out("out", op(c.in(rank<3>, "q"), c.in(rank<3>, "k"), c.in(rank<3>, "v"), c.indices(rank<1>, "cu_seqlens")));
  });
}

heed::BlockScope scope_of(const std::string& name) {
  if (name == "query_head") return heed::BlockScope::kQueryHead;
  if (name == "head_global") return heed::BlockScope::kHeadGlobal;
  if (name == "overall") return heed::BlockScope::kOverall;
  if (name == "block") return heed::BlockScope::kBlock;
  throw std::invalid_argument("no scope of blocks has the name " + name);
}

void add_vmoba(Registry& add) {
  add("vmoba_attention", []<class C>(C& c) {
    const auto patches = c.integers("patch_resolution");
    const heed::VmobaAttention op{
        {.patch_resolution = {patches.at(0), patches.at(1), patches.at(2)},
         .block_size = c.numbers("block_size"),
         .select_mode = c.text("select_mode") == "topk" ? heed::BlockSelect::kTopK : heed::BlockSelect::kThreshold,
         .select_scope = scope_of(c.text("select_scope")),
         .top_k = c.integer_or_null("top_k").value_or(1),
         .threshold = c.number_or_null("threshold").value_or(0.25)}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
}

void add_nsa(Registry& add) {
  add("native_sparse_attention", []<class C>(C& c) {
    const heed::NativeSparseAttention op{{.block_size = c.integer("block_size"),
                                          .block_count = c.integer("block_count"),
                                          .window_size = c.integer("window_size"),
                                          .scale = c.number_or_null("scale")}};
    const auto result = op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.in(rank<3>, "gate_cmp"),
                           c.in(rank<3>, "gate_slc"), c.in(rank<3>, "gate_swa"));
    c.out("selected", result.selected);
    c.out("out", result.out);
  });
  add("nsa_block_compress", []<class C>(C& c) {
    heed::NsaBlockCompress<Scalar<C>> op{{.block_size = c.integer("block_size"), .stride = c.integer("stride")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
  add("nsa_selection_scores", []<class C>(C& c) {
    const heed::NsaSelectionScores op{{.block_size = c.integer("block_size"),
                                       .stride = c.integer("stride"),
                                       .select_block_size = c.integer("select_block_size"),
                                       .group_size = c.integer("group_size"),
                                       .num_select_blocks = c.integer("num_select_blocks")}};
    c.out("out", op(c.in(rank<4>, "x")));
  });
}

void add_sparse_blocks(Registry& add) {
  add_moba(add);
  add_vmoba(add);
  add_nsa(add);
}

const Adapters kSparseBlocks{add_sparse_blocks};

}  // namespace

}  // namespace conformance
