// SPDX-License-Identifier: Apache-2.0
// Adapters for the attention over positions, channels and slots of mechanisms/channel.md.
#include "heed/channel/channel_affinity_attention.hpp"
#include "heed/channel/cross_covariance_attention.hpp"
#include "heed/channel/position_attention.hpp"
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
}

const Adapters kChannelAttention{add_channel_attention};

}  // namespace

}  // namespace conformance
