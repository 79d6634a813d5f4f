// SPDX-License-Identifier: Apache-2.0
// Adapters for the attention over positions, channels and slots of mechanisms/channel.md.
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

// An operator of one map.
template <class C, class Op>
void run(C& c, Op& op) {
  c.parameters(op);
  c.out("out", op(c.in(rank<4>, "x")));
}

void add_channel_attention(Registry& add) {
  add("position_attention", []<class C>(C& c) {
    heed::PositionAttention<Scalar<C>> op;
    run(c, op);
  });
  add("channel_affinity_attention", []<class C>(C& c) {
    heed::ChannelAffinityAttention<Scalar<C>> op{{.inverted = c.flag("inverted")}};
    run(c, op);
  });
  add("cross_covariance_attention", []<class C>(C& c) {
    heed::CrossCovarianceAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("transposed_attention", []<class C>(C& c) {
    heed::TransposedAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    run(c, op);
  });
  add("efficient_attention", []<class C>(C& c) {
    heed::EfficientAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .residual = c.flag("residual")}};
    run(c, op);
  });
  add("double_attention", []<class C>(C& c) {
    heed::DoubleAttention<Scalar<C>> op{{.reconstruct = c.flag("reconstruct")}};
    run(c, op);
  });
  add("external_attention", []<class C>(C& c) {
    heed::ExternalAttention<Scalar<C>> op;
    run(c, op);
  });
  add("multi_head_external_attention", []<class C>(C& c) {
    heed::MultiHeadExternalAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .expand = c.integer("expand")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("emsa", []<class C>(C& c) {
    heed::Emsa<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                              .height = c.integer("height"),
                              .width = c.integer("width"),
                              .sr_ratio = c.integer("sr_ratio"),
                              .transform = c.flag("transform")}};
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
    using Op = heed::NonLocal<Scalar<C>>;
    using Mode = typename Op::Mode;
    const std::map<std::string, Mode> modes{{"embedded_gaussian", Mode::kEmbeddedGaussian},
                                            {"gaussian", Mode::kGaussian},
                                            {"dot_product", Mode::kDotProduct},
                                            {"concatenation", Mode::kConcatenation}};
    Op op{{.mode = modes.at(c.text("mode")),
           .sub_sample = c.flag("sub_sample"),
           .use_scale = c.has_attr("use_scale") && c.flag("use_scale")}};
    c.parameters(op);
    if (c.shape("x").size() == 5) {
      c.out("out", op(c.in(rank<5>, "x")));
    } else {
      c.out("out", op(c.in(rank<4>, "x")));
    }
  });
  add("outlook_attention", []<class C>(C& c) {
    heed::OutlookAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                          .kernel_size = c.integer("kernel_size"),
                                          .padding = c.integer("padding"),
                                          .stride = c.integer("stride")}};
    run(c, op);
  });
}

const Adapters kChannelAttention{add_channel_attention};

}  // namespace

}  // namespace conformance
