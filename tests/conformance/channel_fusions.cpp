// SPDX-License-Identifier: Apache-2.0
// Adapters for the fusion blocks of mechanisms/channel.md.
#include "heed/channel/resolution_aware_channel_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_channel_fusions(Registry& add) {
  add("resolution_aware_channel_attention", []<class C>(C& c) {
    heed::ResolutionAwareChannelAttention<Scalar<C>> op;
    using Resolution = typename decltype(op)::Resolution;
    op.options.resolution = c.text("resolution") == "coarse" ? Resolution::kCoarse : Resolution::kFine;
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
}

const Adapters kChannelFusions{add_channel_fusions};

}  // namespace

}  // namespace conformance
