// SPDX-License-Identifier: Apache-2.0
// Adapters for the fusion blocks of mechanisms/channel.md.
#include "attributes.hpp"
#include "heed/channel/adaptive_edge_operator.hpp"
#include "heed/channel/channel_attention_modulation.hpp"
#include "heed/channel/dream.hpp"
#include "heed/channel/resolution_aware_channel_attention.hpp"
#include "heed/channel/selective_dense_attention.hpp"
#include "heed/channel/self_attention_fusion.hpp"
#include "heed/channel/spatial_reduction_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <int R, class C>
void run_dream(C& c, const heed::Dream<Scalar<C>>& op) {
  const auto y = op(c.in(rank<R>, "x"));
  if constexpr (R == 2) {
    c.out("out", y);
  } else if (heed::sizes_of(y)[2] * heed::sizes_of(y)[3] == 1) {  // the authors drop both axes
    c.out("out", heed::contiguous(Eigen::DefaultDevice(), heed::view(y).select(3, 0).select(2, 0)));
  } else {
    c.out("out", y);
  }
}

void add_channel_fusions(Registry& add) {
  add("resolution_aware_channel_attention", []<class C>(C& c) {
    heed::ResolutionAwareChannelAttention<Scalar<C>> op;
    using Resolution = typename decltype(op)::Resolution;
    if (c.has_attr("resolution") && c.text("resolution") == "fine") op.options.resolution = Resolution::kFine;
    run(c, op);
  });
  add("adaptive_edge_operator", []<class C>(C& c) {
    heed::AdaptiveEdgeOperator<Scalar<C>> op{{.gray = c.has_attr("gray") && c.flag("gray")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x"), c.indices(rank<1>, "op")));
  });
  add("channel_attention_modulation", []<class C>(C& c) {
    heed::ChannelAttentionModulation<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<4>, "x1"), c.in(rank<4>, "x2"));
    c.out("x1_out", result.x1_out);
    c.out("x2_out", result.x2_out);
  });
  add("spatial_reduction_attention", []<class C>(C& c) {
    heed::SpatialReductionAttention<Scalar<C>> op;
    read(c, "num_heads", op.options.num_heads);
    read(c, "sr_ratio", op.options.sr_ratio);
    run(c, op);
  });
  add("self_attention_fusion", []<class C>(C& c) {
    heed::SelfAttentionFusion<Scalar<C>> op;
    read(c, "num_heads", op.attn.options.num_heads);
    read(c, "sr_ratio", op.attn.options.sr_ratio);
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x1"), c.in(rank<4>, "x2")));
  });
  add("dream", []<class C>(C& c) {
    heed::Dream<Scalar<C>> op;
    read(c, "rate", op.options.rate);
    c.parameters(op);
    const auto axes = c.shape("x").size();
    if (axes == 2) return run_dream<2>(c, op);
    if (axes == 3) return run_dream<3>(c, op);
    run_dream<4>(c, op);
  });
  add("selective_dense_attention", []<class C>(C& c) {
    Index levels = 5;
    read(c, "num_levels", levels);
    heed::SelectiveDenseAttention<Scalar<C>> op({.num_levels = levels, .level = c.integer("level")});
    c.parameters(op);
    std::vector maps{c.in(rank<4>, "x0")};
    for (Index i = 1; i < levels; ++i) maps.push_back(c.in(rank<4>, "x" + std::to_string(i)));
    c.out("out", op(maps));
  });
}

const Adapters kChannelFusions{add_channel_fusions};

}  // namespace

}  // namespace conformance
