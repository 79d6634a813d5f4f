// SPDX-License-Identifier: Apache-2.0
// Adapters for the mixtures of heads of vision models in mechanisms/sparse_routing.md.
#include "heed/mixture_of_head/moh_aggregated_attention.hpp"
#include "heed/mixture_of_head/moh_cosine_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <class C>
std::array<Index, 2> resolution(C& c) {
  const auto sides = c.integers("input_resolution");
  return {sides.at(0), sides.at(1)};
}

template <class C, class Op>
void run(C& c, Op& op) {
  c.parameters(op);
  const auto [out, loss] =
      op(c.in(rank<3>, "x"), c.indices(rank<1>, "relative_pos_index"), c.in(rank<2>, "relative_coords_table"));
  c.out("out", out);
  c.out("load_balance_loss", loss);
}

void add_moh_vision(Registry& add) {
  add("moh_cosine_attention", []<class C>(C& c) {
    heed::MohCosineAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                            .input_resolution = resolution(c),
                                            .shared_heads = c.integer("shared_heads"),
                                            .routed_heads = c.integer("routed_heads")}};
    run(c, op);
  });
  add("moh_aggregated_attention", []<class C>(C& c) {
    heed::MohAggregatedAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                                .input_resolution = resolution(c),
                                                .window_size = c.integer_or_null("window_size").value_or(3),
                                                .sr_ratio = c.integer_or_null("sr_ratio").value_or(1),
                                                .fixed_pool_size = c.integer_or_null("fixed_pool_size").value_or(0),
                                                .shared_heads = c.integer("shared_heads"),
                                                .routed_heads = c.integer("routed_heads")}};
    run(c, op);
  });
}

const Adapters kMixtureOfHeadVision{add_moh_vision};

}  // namespace

}  // namespace conformance
