// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/cross_dual.md in which one query reads several sources, apart or together.
#include "heed/cross/composite_attention.hpp"
#include "heed/cross/decoupled_cross_attention.hpp"
#include "heed/cross/dual_attention_adaptive_gate.hpp"
#include "heed/cross/dual_level_id_injection.hpp"
#include "heed/cross/in_context_multimodal_attention.hpp"
#include "heed/cross/pair_wise_cross_attention.hpp"
#include "heed/cross/pooled_dual_cross_attention.hpp"
#include "heed/cross/uncertainty_loss_weighting.hpp"
#include "heed/cross/visual_token_pooling.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_prompts(Registry& add) {
  add("decoupled_cross_attention", []<class C>(C& c) {
    heed::DecoupledCrossAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .image_scale = c.number("image_scale")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "text"), c.in(rank<3>, "image")));
  });
  add("dual_level_id_injection", []<class C>(C& c) {
    heed::DualLevelIdInjection<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"), c.in(rank<3>, "text"), c.in(rank<3>, "cls_tokens"),
                           c.in(rank<4>, "patch_tokens"), c.indices(rank<1>, "word_index"));
    c.out("text_fused", result.text_fused);
    c.out("id_tokens", result.id_tokens);
    c.out("out", result.out);
  });
  add("dual_attention_adaptive_gate", []<class C>(C& c) {
    heed::DualAttentionAdaptiveGate<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "timbre"), c.in(rank<3>, "style")));
  });
}

void add_visual(Registry& add) {
  add("pooled_dual_cross_attention", []<class C>(C& c) {
    heed::PooledDualCrossAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .num_visual = c.integer("num_visual")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "hidden"), c.in(rank<3>, "visual")));
  });
  add("visual_token_pooling", []<class C>(C& c) {
    const auto grid = c.integers("grid"), out_grid = c.integers("out_grid");
    const heed::VisualTokenPooling op{{.grid = {grid[0], grid[1]},
                                       .out_grid = {out_grid[0], out_grid[1]},
                                       .mode = c.has_attr("mode") && c.text("mode") == "bilinear"
                                                   ? heed::TokenPooling::kBilinear
                                                   : heed::TokenPooling::kAverage}};
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("composite_attention", []<class C>(C& c) {
    heed::CompositeAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                            .visual_update = c.text("visual_update") == "none"
                                                                 ? heed::VisualUpdate::kNone
                                                                 : heed::VisualUpdate::kValueOutput}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "visual"), c.in(rank<3>, "text"));
    c.out("visual_out", result.visual_out);
    c.out("text_out", result.text_out);
  });
}

void add_pairs(Registry& add) {
  add("pair_wise_cross_attention", []<class C>(C& c) {
    heed::PairWiseCrossAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x1"), c.in(rank<3>, "x2")));
  });
  add("uncertainty_loss_weighting", []<class C>(C& c) {
    heed::UncertaintyLossWeighting<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<1>, "x")));
  });
  add("in_context_multimodal_attention", []<class C>(C& c) {
    heed::InContextMultimodalAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                                      .rope_axes = c.integers("rope_axes"),
                                                      .rope_base = c.number("rope_base"),
                                                      .use_boundary = c.flag("use_boundary"),
                                                      .use_registers = c.flag("use_registers")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "image"), c.in(rank<3>, "text"), c.indices(rank<3>, "positions"),
                           c.in(rank<3>, "boundary"), c.in(rank<4>, "registers"));
    c.out("image_out", result.image_out);
    c.out("text_out", result.text_out);
  });
}

void add_cross_dual(Registry& add) {
  add_prompts(add);
  add_visual(add);
  add_pairs(add);
}

const Adapters kCrossDual{add_cross_dual};

}  // namespace

}  // namespace conformance
