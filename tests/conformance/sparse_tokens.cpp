// SPDX-License-Identifier: Apache-2.0
// Adapters for the vision-language attention control of mechanisms/sparse_routing.md.
#include "heed/autodiff/segment_mean.hpp"
#include "heed/sparse/cross_modality_attention_inhibition.hpp"
#include "heed/sparse/dense_token_select.hpp"
#include "heed/sparse/mixed_modal_attention.hpp"
#include "heed/sparse/paint_attention.hpp"
#include "heed/sparse/paint_token_select.hpp"
#include "heed/sparse/prompt_token_replace.hpp"
#include "heed/sparse/scene_magnifier_attention.hpp"
#include "heed/sparse/token_coordinated_prompt_attention.hpp"
#include "heed/sparse/vmtc_token_merge.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_selections(Registry& add) {
  add.without_gradient("dense_token_select", []<class C>(C& c) {
    const heed::DenseTokenSelect op{{.query_start = c.integer("query_start"),
                                     .scene_start = c.integer("scene_start"),
                                     .num_scene = c.integer("num_scene"),
                                     .dense_per_scene = c.integer_or_null("dense_per_scene").value_or(4),
                                     .threshold = c.number_or_null("threshold").value_or(96)}};
    c.out("select_mask", op(c.in(rank<4>, "x")));
  });
  add.without_gradient("paint_token_select", []<class C>(C& c) {
    const heed::PaintTokenSelect op{{.num_tokens = c.integer_or_null("num_tokens").value_or(576),
                                     .local_ratio = c.number_or_null("local_ratio").value_or(0.25),
                                     .spatial_ratio = c.number_or_null("spatial_ratio").value_or(0)}};
    const auto result = op(c.in(rank<4>, "first_attn"), c.in(rank<4>, "late_attn"));
    c.out("local_mask", result.local_mask);
    c.out("summary_mask", result.summary_mask);
  });
  add("prompt_token_replace", []<class C>(C& c) {
    using Op = heed::PromptTokenReplace<Scalar<C>>;
    using Assignment = typename Op::Assignment;
    Op op{{c.text("assignment") == "nearest" ? Assignment::kNearest : Assignment::kHungarian}, {}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "visual"), c.mask(rank<2>, "replace_mask"));
    c.out("out", result.out);
    c.out("prompt_index", result.prompt_index);
  });
  add("vmtc_token_merge", []<class C>(C& c) {
    const heed::VmtcTokenMerge op{{.num_keep = c.integer("num_keep"),
                                   .num_clusters = c.integer("num_clusters"),
                                   .iterations = c.integer("iterations")}};
    const auto result = op(c.in(rank<2>, "tokens"), c.in(rank<1>, "importance"));
    c.out("out", result.out);
    c.out("assignment", result.assignment);
  });
}

void add_attentions(Registry& add) {
  add("scene_magnifier_attention", []<class C>(C& c) {
    heed::SceneMagnifierAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                                 .scene_start = c.integer("scene_start"),
                                                 .num_scene = c.integer("num_scene"),
                                                 .dense_per_scene = c.integer_or_null("dense_per_scene").value_or(4),
                                                 .threshold = c.number_or_null("threshold").value_or(96),
                                                 .alpha = c.number_or_null("alpha").value_or(1),
                                                 .rope_base = c.number_or_null("rope_base").value_or(10000)}};
    c.parameters(op);
    const auto report = [&](const auto& result) {
      c.out("next_select_mask", result.next_select_mask);
      c.out("out", result.out);
    };
    const auto x = c.in(rank<3>, "x");
    const auto& start = c.indices(rank<1>, "magnify_start");
    if (c.has_in("select_mask")) {
      report(op(x, c.in(rank<3>, "dense_features"), c.mask(rank<3>, "select_mask"), start,
                c.indices(rank<1>, "magnify_end")));
    } else {
      if (c.has_in("dense_features")) c.in(rank<3>, "dense_features");  // not used, so of gradient 0
      report(op(x, start));
    }
  });
  add("mixed_modal_attention", []<class C>(C& c) {
    const heed::MixedModalAttention op;
    const auto q = c.in(rank<4>, "q"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    if (c.text("mask_mode") == "visual") {
      c.out("out", op(q, k, v, c.mask(rank<2>, "visual_mask")));
    } else {
      c.out("out", op(q, k, v, c.indices(rank<1>, "prefix_len")));
    }
  });
  add("cross_modality_attention_inhibition", []<class C>(C& c) {
    const heed::CrossModalityAttentionInhibition op{{.inhibit_ratio = c.number("inhibit_ratio")}};
    const auto result = op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.mask(rank<1>, "image_mask"));
    c.out("inhibited", result.inhibited);
    c.out("focus", result.focus);
    c.out("out", result.out);
  });
  add("token_coordinated_prompt_attention", []<class C>(C& c) {
    using Op = heed::TokenCoordinatedPromptAttention<Scalar<C>>;
    using MaskMode = typename Op::MaskMode;
    Op op;
    op.options = {.num_heads = c.integer("num_heads"),
                  .top_k_cls = c.integer_or_null("top_k_cls").value_or(3),
                  .top_k_image = c.integer_or_null("top_k_image").value_or(3),
                  .mask_mode = c.text("mask_mode") == "role" ? MaskMode::kRole : MaskMode::kMatched,
                  .fourier = !c.has_attr("fourier") || c.flag("fourier")};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    if (c.has_out("match_loss")) c.out("match_loss", heed::view(result.match_loss).template reshape<0>({}));
    c.out("out", result.out);
  });
  add("paint_attention", []<class C>(C& c) {
    const heed::PaintAttention op{{.image_start = c.integer("image_start"),
                                   .image_len = c.integer("image_len"),
                                   .alpha = c.number_or_null("alpha").value_or(0.7),
                                   .beta = c.number_or_null("beta").value_or(0.3)}};
    const auto q = c.in(rank<4>, "q"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    const auto &local = c.mask(rank<1>, "local_mask"), &summary = c.mask(rank<1>, "summary_mask");
    if (c.has_in("head_gain")) {
      c.out("out", op(q, k, v, local, summary, c.in(rank<1>, "head_gain")));
    } else {
      c.out("out", op(q, k, v, local, summary));
    }
  });
}

void add_sparse_tokens(Registry& add) {
  add_selections(add);
  add_attentions(add);
}

const Adapters kSparseTokens{add_sparse_tokens};

}  // namespace

}  // namespace conformance
