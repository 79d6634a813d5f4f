// SPDX-License-Identifier: Apache-2.0
// Adapters for the compositions of mechanisms/channel.md that mix maps: guided attention, mutual fusion, distribution.
#include "heed/channel/guided_attention_layer.hpp"
#include "heed/channel/inter_scale_interaction.hpp"
#include "heed/channel/multi_level_feature_distribution.hpp"
#include "heed/channel/semantic_guidance.hpp"
#include "heed/dual/channel_mutual_fusion.hpp"
#include "heed/dual/guided_dual_attention.hpp"
#include "heed/dual/position_mutual_fusion.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_guided(Registry& add) {
  add("guided_attention_layer", []<class C>(C& c) {
    using Kind = heed::GuidedAttentionKind;
    heed::GuidedAttentionLayer<Scalar<C>> op{{.kind = c.text("kind") == "channel" ? Kind::kChannel : Kind::kPosition}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
  add("semantic_guidance", []<class C>(C& c) {
    heed::SemanticGuidance<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<4>, "x"));
    c.out("code", result.code);
    c.out("out", result.out);
  });
  add("guided_dual_attention", []<class C>(C& c) {
    heed::GuidedDualAttention<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x"), c.in(rank<4>, "s")));
  });
}

template <class C, class Op>
void run_fusion(C& c, Op& op) {
  if (c.has_attr("normalise") && c.text("normalise") == "sigmoid")
    op.options.normalizer = heed::MutualNormalizer::kSigmoid;
  c.parameters(op);
  c.out("out", op(c.in(rank<4>, "rgb"), c.in(rank<4>, "depth")));
}

void add_fusions(Registry& add) {
  add("position_mutual_fusion", []<class C>(C& c) {
    heed::PositionMutualFusion<Scalar<C>> op;
    run_fusion(c, op);
  });
  add("channel_mutual_fusion", []<class C>(C& c) {
    heed::ChannelMutualFusion<Scalar<C>> op;
    run_fusion(c, op);
  });
  add("inter_scale_interaction", []<class C>(C& c) {
    heed::InterScaleInteraction<Scalar<C>> op;
    if (c.has_attr("dilation")) op.options.dilation = c.integer("dilation");
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "enc"), c.in(rank<4>, "dec")));
  });
  add("multi_level_feature_distribution", []<class C>(C& c) {
    heed::MultiLevelFeatureDistribution<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<4>, "f0"), c.in(rank<4>, "f1"), c.in(rank<4>, "f2"));
    c.out("f0_out", result.f0);
    c.out("f1_out", result.f1);
    c.out("f2_out", result.f2);
  });
}

void add_dual_blocks(Registry& add) {
  add_guided(add);
  add_fusions(add);
}

const Adapters kDualBlocks{add_dual_blocks};

}  // namespace

}  // namespace conformance
