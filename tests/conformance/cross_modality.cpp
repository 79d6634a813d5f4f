// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/cross_dual.md that treat the tokens of one sequence by what they are.
#include "heed/cross/duplex_attention_alignment.hpp"
#include "heed/cross/global_local_cross_attention.hpp"
#include "heed/cross/multimodal_dual_attention.hpp"
#include "heed/cross/pseudo_masked_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_cross_modality(Registry& add) {
  add("global_local_cross_attention", []<class C>(C& c) {
    heed::GlobalLocalCrossAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                                   .top_k = c.integer("top_k"),
                                                   .include_cls = c.flag("include_cls"),
                                                   .residual_weight = c.number("residual_weight")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"), c.in(rank<5>, "attn_maps"));
    c.out("indices", result.indices);
    c.out("out", result.out);
  });
  add("multimodal_dual_attention", []<class C>(C& c) {
    heed::MultimodalDualAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                                 .num_kv_heads = c.integer("num_kv_heads"),
                                                 .visual_full = c.flag("visual_full"),
                                                 .rope_base = c.number("rope_base")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.indices(rank<2>, "modality")));
  });
  add("duplex_attention_alignment", []<class C>(C& c) {
    heed::DuplexAttentionAlignment<Scalar<C>> op{{.both = c.text("directions") == "both", .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.indices(rank<2>, "modality")));
  });
  add("pseudo_masked_attention", []<class C>(C& c) {
    const heed::PseudoMaskedAttention op{{.gamma = c.number("gamma")}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
}

const Adapters kCrossModality{add_cross_modality};

}  // namespace

}  // namespace conformance
