// SPDX-License-Identifier: Apache-2.0
// Adapters for the attention over positions, channels and slots of mechanisms/channel.md.
#include "attributes.hpp"
#include "heed/channel/channel_affinity_attention.hpp"
#include "heed/channel/cross_covariance_attention.hpp"
#include "heed/channel/double_attention.hpp"
#include "heed/channel/efficient_attention.hpp"
#include "heed/channel/emsa.hpp"
#include "heed/channel/external_attention.hpp"
#include "heed/channel/multi_head_external_attention.hpp"
#include "heed/channel/non_local.hpp"
#include "heed/channel/outlook_attention.hpp"
#include "heed/channel/position_attention.hpp"
#include "heed/channel/separable_self_attention.hpp"
#include "heed/channel/transposed_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_channel_attention(Registry& add) {
  add("position_attention", []<class C>(C& c) {
    heed::PositionAttention<Scalar<C>> op;
    run(c, op);
  });
  add("channel_affinity_attention", []<class C>(C& c) {
    heed::ChannelAffinityAttention<Scalar<C>> op;
    read(c, "inverted", op.options.inverted);
    run(c, op);
  });
  add("cross_covariance_attention", []<class C>(C& c) {
    heed::CrossCovarianceAttention<Scalar<C>> op;
    read(c, "num_heads", op.options.num_heads);
    read(c, "eps", op.options.eps);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("transposed_attention", []<class C>(C& c) {
    heed::TransposedAttention<Scalar<C>> op;
    read(c, "num_heads", op.options.num_heads);
    read(c, "eps", op.options.eps);
    run(c, op);
  });
  add("efficient_attention", []<class C>(C& c) {
    heed::EfficientAttention<Scalar<C>> op;
    read(c, "num_heads", op.options.num_heads);
    read(c, "residual", op.options.residual);
    run(c, op);
  });
  add("double_attention", []<class C>(C& c) {
    heed::DoubleAttention<Scalar<C>> op;
    read(c, "reconstruct", op.options.reconstruct);
    run(c, op);
  });
  add("external_attention", []<class C>(C& c) {
    heed::ExternalAttention<Scalar<C>> op;
    run(c, op);
  });
  add("multi_head_external_attention", []<class C>(C& c) {
    heed::MultiHeadExternalAttention<Scalar<C>> op;
    read(c, "num_heads", op.options.num_heads);
    read(c, "expand", op.options.expand);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("emsa", []<class C>(C& c) {
    heed::Emsa<Scalar<C>> op{{.height = c.integer("height"), .width = c.integer("width")}};
    read(c, "num_heads", op.options.num_heads);
    read(c, "sr_ratio", op.options.sr_ratio);
    read(c, "transform", op.options.transform);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("separable_self_attention", []<class C>(C& c) {
    heed::SeparableSelfAttention<Scalar<C>> op;
    c.parameters(op);
    if (c.has_in("context")) {
      c.out("out", op(c.in(rank<4>, "x"), c.in(rank<4>, "context")));
    } else {
      c.out("out", op(c.in(rank<4>, "x")));
    }
  });
  add("non_local", []<class C>(C& c) {
    heed::NonLocal<Scalar<C>> op;
    using Mode = typename decltype(op)::Mode;
    choose(c, "mode", op.options.mode,
           {{"embedded_gaussian", Mode::kEmbeddedGaussian},
            {"gaussian", Mode::kGaussian},
            {"dot_product", Mode::kDotProduct},
            {"concatenation", Mode::kConcatenation}});
    read(c, "sub_sample", op.options.sub_sample);
    read(c, "use_scale", op.options.use_scale);
    c.parameters(op);
    if (c.shape("x").size() == 5) {
      c.out("out", op(c.in(rank<5>, "x")));
    } else {
      c.out("out", op(c.in(rank<4>, "x")));
    }
  });
  add("outlook_attention", []<class C>(C& c) {
    heed::OutlookAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    read(c, "kernel_size", op.options.kernel_size);
    read(c, "padding", op.options.padding);
    read(c, "stride", op.options.stride);
    run(c, op);
  });
}

const Adapters kChannelAttention{add_channel_attention};

}  // namespace

}  // namespace conformance
