// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/local_linear.md.
#include "heed/attention/merge.hpp"
#include "heed/self/attention_mask.hpp"
#include "heed/self/masked_attention.hpp"
#include "heed/sparse/variable_block_sparse_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_attention_mask(Registry& add) {
  add.without_gradient("attention_mask", []<class C>(C& c) {
    const auto window = c.has_attr("window") ? c.integers("window") : std::vector<Index>{-1, -1};
    const heed::AttentionMask mask{
        {.pattern = heed::mask_pattern(c.text("pattern")),
         .window = {window.at(0), window.at(1)},
         .doc_lengths = c.has_attr("doc_lengths") ? c.integers("doc_lengths") : std::vector<Index>(),
         .prefix = c.integer_or_null("prefix").value_or(0),
         .global_tokens = c.integer_or_null("global_tokens").value_or(0),
         .block_size = c.integer_or_null("block_size").value_or(1)}};
    const Index n = c.integer("n");
    c.out("mask", mask(n, c.integer_or_null("m").value_or(n)));
  });
}

void add_masked_attention(Registry& add) {
  add("masked_attention", []<class C>(C& c) {
    const heed::MaskedAttention attend{{.scale = c.number_or_null("scale")}};
    const auto q = c.in(rank<4>, "q"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    const auto both = [&] {
      if (!c.has_in("mask")) return attend.attend().with_lse(q, k, v);
      switch (c.shape("mask").size()) {
        case 2:
          return attend.attend(c.mask(rank<2>, "mask")).with_lse(q, k, v);
        case 3:
          return attend.attend(c.mask(rank<3>, "mask")).with_lse(q, k, v);
        default:
          return attend.attend(c.mask(rank<4>, "mask")).with_lse(q, k, v);
      }
    }();
    c.out("out", std::get<0>(both));
    if (!c.has_attr("return_lse") || c.flag("return_lse")) c.out("lse", std::get<1>(both));
  });
}

void add_variable_block_sparse_attention(Registry& add) {
  add("variable_block_sparse_attention", []<class C>(C& c) {
    const heed::VariableBlockSparseAttention attend{{.q_block_size = c.integer_or_null("q_block_size").value_or(0),
                                                     .k_block_size = c.integer_or_null("k_block_size").value_or(0),
                                                     .scale = c.number_or_null("scale")}};
    const auto q = c.in(rank<4>, "q"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    const auto mask = c.mask(rank<3>, "block_mask");
    const auto both =
        c.has_in("q_block_lengths")
            ? attend.attend(mask, c.indices(rank<2>, "q_block_lengths"), c.indices(rank<2>, "k_block_lengths"))
                  .with_lse(q, k, v)
            : attend.attend(mask).with_lse(q, k, v);
    c.out("out", std::get<0>(both));
    c.out("lse", std::get<1>(both));
  });
}

void add_merge_attention_states(Registry& add) {
  add("merge_attention_states", []<class C>(C& c) {
    const auto [out, lse] = heed::merge_attention_states(c.in(rank<5>, "outputs"), c.in(rank<4>, "lses"));
    c.out("out", out);
    c.out("lse", lse);
  });
}

void add_local_linear(Registry& add) {
  add_attention_mask(add);
  add_masked_attention(add);
  add_variable_block_sparse_attention(add);
  add_merge_attention_states(add);
}

const Adapters kLocalLinear{add_local_linear};

}  // namespace

}  // namespace conformance
