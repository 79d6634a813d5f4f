// SPDX-License-Identifier: Apache-2.0
// Adapters for what reads and edits attention maps in mechanisms/sparse_routing.md.
#include "heed/analysis/attencraft_attention_loss.hpp"
#include "heed/analysis/attencraft_concept_masks.hpp"
#include "heed/analysis/attention_flow.hpp"
#include "heed/analysis/attention_rollout.hpp"
#include "heed/analysis/attention_saliency_correlation.hpp"
#include "heed/analysis/cross_attention_aggregate.hpp"
#include "heed/analysis/doei_token_optimization.hpp"
#include "heed/analysis/regularized_attention_flow.hpp"
#include "heed/analysis/vision_aware_head_reinforcement.hpp"
#include "heed/analysis/visual_attention_redistribution.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

// A loss (1) as the scalar of the file.
template <class C, class X>
void scalar_out(C& c, std::string_view name, const X& loss) {
  c.out(name, heed::view(loss).template reshape<0>({}));
}

void add_flows(Registry& add) {
  add("attention_rollout", []<class C>(C& c) {
    const heed::AttentionRollout op{{.add_residual = !c.has_attr("add_residual") || c.flag("add_residual")}};
    c.out("out", op(c.in(rank<4>, "x")));
  });
  add.without_gradient("attention_flow",
                       []<class C>(C& c) { c.out("out", heed::AttentionFlow()(c.in(rank<4>, "x"))); });
  add("regularized_attention_flow", []<class C>(C& c) {
    using Regularize = heed::RegularizedAttentionFlow::Regularize;
    const std::string how = c.text("regularize");
    const heed::RegularizedAttentionFlow op{{.head_weighting = c.flag("head_weighting"),
                                             .regularize = how == "maps"   ? Regularize::kMaps
                                                           : how == "flow" ? Regularize::kFlow
                                                                           : Regularize::kNone}};
    const auto result = op(c.in(rank<4>, "x"), c.mask(rank<1>, "object_mask"), c.mask(rank<1>, "image_mask"));
    c.out("head_weights", result.head_weights);
    c.out("out", result.out);
    c.out("image_map", result.image_map);
  });
  add("cross_attention_aggregate", []<class C>(C& c) {
    heed::CrossAttentionAggregate::Inputs inputs;
    if (c.has_in("layer_mask")) inputs.layer_mask = heed::const_view(c.mask(rank<1>, "layer_mask"));
    if (c.has_in("head_mask")) inputs.head_mask = heed::const_view(c.mask(rank<1>, "head_mask"));
    c.out("out", heed::CrossAttentionAggregate()(c.in(rank<4>, "x"), inputs));
  });
  add.without_gradient("attention_saliency_correlation", []<class C>(C& c) {
    using Op = heed::AttentionSaliencyCorrelation;
    const auto reduce = [&](const char* name) { return c.text(name) == "max" ? Op::Reduce::kMax : Op::Reduce::kMean; };
    const std::string scale = c.text("row_normalize");
    const Op op{{.frequency_reduce = reduce("frequency_reduce"),
                 .time_reduce = reduce("time_reduce"),
                 .row_normalize = scale == "zscore"   ? heed::RowScale::kZscore
                                  : scale == "minmax" ? heed::RowScale::kMinmax
                                                      : heed::RowScale::kNone}};
    const auto result = op(c.in(rank<2>, "cross_attn"), c.in(rank<3>, "saliency"));
    c.out("saliency_down", result.saliency_down);
    c.out("correlation", result.correlation);
  });
}

void add_edits(Registry& add) {
  add.without_gradient("visual_attention_redistribution", []<class C>(C& c) {
    const heed::VisualAttentionRedistribution op{{.tau = c.number_or_null("tau").value_or(20),
                                                  .rho = c.number_or_null("rho").value_or(0.5),
                                                  .summ = c.number_or_null("summ").value_or(0.2),
                                                  .p = c.number_or_null("p").value_or(0.6),
                                                  .image_start = c.integer("image_start"),
                                                  .image_len = c.integer("image_len"),
                                                  .sink_dims = c.integers("sink_dims"),
                                                  .prefill = c.flag("prefill")}};
    const auto result = op(c.in(rank<4>, "attn"), c.in(rank<3>, "hidden"));
    c.out("sink_mask", result.sink_mask);
    c.out("out", result.out);
  });
  add("vision_aware_head_reinforcement", []<class C>(C& c) {
    using Op = heed::VisionAwareHeadReinforcement;
    const Op op{{.alpha = c.number_or_null("alpha").value_or(2),
                 .top_k = c.integer("top_k"),
                 .unbiased_std = !c.has_attr("unbiased_std") || c.flag("unbiased_std"),
                 .median = c.text("median") == "lower" ? Op::Median::kLower : Op::Median::kMid}};
    const auto result = op(c.in(rank<3>, "head_out"), c.in(rank<3>, "head_out_text"));
    c.out("selected", result.selected);
    c.out("vhd", result.vhd);
    scalar_out(c, "t_vhd", result.t_vhd);
    c.out("out", result.out);
  });
  add.without_gradient("attencraft_concept_masks", []<class C>(C& c) {
    const heed::AttencraftConceptMasks op{{.resolution = c.integer_or_null("resolution").value_or(32),
                                           .threshold = c.number_or_null("threshold").value_or(0.1)}};
    const auto result = op(c.in(rank<3>, "cross"), c.in(rank<2>, "self"));
    c.out("refined", result.refined);
    c.out("masks", result.masks);
    c.out("mask_token", result.mask_token);
  });
  add("attencraft_attention_loss", []<class C>(C& c) {
    scalar_out(c, "loss", heed::AttencraftAttentionLoss()(c.in(rank<3>, "cross"), c.in(rank<3>, "masks")));
  });
  add("doei_token_optimization", []<class C>(C& c) {
    const heed::DoeiTokenOptimization op{{.num_class = c.integer("num_class"),
                                          .gamma = c.number("gamma"),
                                          .hybrid_weight = c.number("hybrid_weight"),
                                          .residual_weight = c.number("residual_weight")}};
    c.out("out", op(c.in(rank<2>, "tokens"), c.in(rank<2>, "attn"), c.in(rank<2>, "rgb_affinity")));
  });
}

void add_analysis(Registry& add) {
  add_flows(add);
  add_edits(add);
}

const Adapters kAnalysis{add_analysis};

}  // namespace

}  // namespace conformance
