// SPDX-License-Identifier: Apache-2.0
// Adapters for the scans, gates, landmarks and memories of mechanisms/self.md.
#include "heed/self/elementwise_gated_attention.hpp"
#include "heed/self/taylor_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <template <class> class Op>
void add_scan(Registry& add, const char* name) {
  add(name, []<class C>(C& c) {
    Op<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .causal = c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

}  // namespace

void add_self_memory(Registry& add) {
  add_scan<heed::ElementwiseGatedAttention>(add, "elementwise_gated_attention");
  add_scan<heed::TaylorAttention>(add, "taylor_attention");
}

}  // namespace conformance
