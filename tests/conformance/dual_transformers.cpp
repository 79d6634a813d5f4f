// SPDX-License-Identifier: Apache-2.0
// Adapters for the compositions of mechanisms/channel.md that are transformer blocks.
#include "heed/channel/eeg_transformer_block.hpp"
#include "heed/channel/multiview_transformer_branch.hpp"
#include "heed/channel/skip_cross_attention.hpp"
#include "heed/dual/dual_branch_conformer.hpp"
#include "heed/dual/dual_mix_block.hpp"
#include "heed/dual/dual_transformer_block.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_linear(Registry& add) {
  add("dual_transformer_block", []<class C>(C& c) {
    heed::DualTransformerBlock<Scalar<C>> op{{.height = c.integer("height"), .width = c.integer("width")}};
    if (c.has_attr("num_channel_heads")) op.channel.options.num_heads = c.integer("num_channel_heads");
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("skip_cross_attention", []<class C>(C& c) {
    heed::SkipCrossAttention<Scalar<C>> op{{.height = c.integer("height"), .width = c.integer("width")}};
    if (c.has_attr("num_heads")) op.options.num_heads = c.integer("num_heads");
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x1"), c.in(rank<3>, "x2")));
  });
}

void add_mix(Registry& add) {
  add("dual_mix_attention", []<class C>(C& c) {
    heed::DualMixAttention<Scalar<C>> op;
    if (c.has_attr("num_heads")) op.options.num_heads = c.integer("num_heads");
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "tokens"), c.in(rank<4>, "x"), c.in(rank<4>, "pos"));
    c.out("tokens_out", result.tokens);
    c.out("x_out", result.x);
  });
  add("dual_mix_block", []<class C>(C& c) {
    heed::DualMixBlock<Scalar<C>> op;
    if (c.has_attr("num_heads")) op.mix.options.num_heads = c.integer("num_heads");
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "tokens"), c.in(rank<4>, "x"), c.in(rank<4>, "pos"));
    c.out("tokens_out", result.tokens);
    c.out("x_out", result.x);
  });
}

void add_signals(Registry& add) {
  add("eeg_transformer_block", []<class C>(C& c) {
    heed::EegTransformerBlock<Scalar<C>> op;
    if (c.has_attr("num_heads")) op.options.num_heads = c.integer("num_heads");
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("dual_branch_conformer", []<class C>(C& c) {
    typename heed::DualBranchConformer<Scalar<C>>::Options options;
    options.patch_size = c.integer("patch_size");
    options.num_time_layers = c.integer("num_time_layers");
    options.num_space_layers = c.integer("num_space_layers");
    if (c.has_attr("num_heads")) options.num_heads = c.integer("num_heads");
    if (c.has_attr("drop_last")) options.drop_last = c.flag("drop_last");
    if (c.has_attr("fusion") && c.text("fusion") != "attention")
      options.fusion = c.text("fusion") == "gate" ? heed::BranchFusion::kGate : heed::BranchFusion::kMean;
    heed::DualBranchConformer<Scalar<C>> op(options);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("multiview_transformer_branch", []<class C>(C& c) {
    typename heed::MultiviewTransformerBranch<Scalar<C>>::Options options;
    if (c.has_attr("num_heads")) options.num_heads = c.integer("num_heads");
    if (c.has_attr("num_layers")) options.num_layers = c.integer("num_layers");
    heed::MultiviewTransformerBranch<Scalar<C>> op(options);
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    c.out("out", result.out);
    c.out("z", result.z);
  });
}

void add_dual_transformers(Registry& add) {
  add_linear(add);
  add_mix(add);
  add_signals(add);
}

const Adapters kDualTransformers{add_dual_transformers};

}  // namespace

}  // namespace conformance
