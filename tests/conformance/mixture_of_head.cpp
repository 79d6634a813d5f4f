// SPDX-License-Identifier: Apache-2.0
// Adapters for the mixtures of heads of mechanisms/sparse_routing.md.
#include "heed/mixture_of_head.hpp"

#include "registry.hpp"

namespace conformance {

namespace {

void add_moh_attention(Registry& add) {
  add("moh_attention", []<class C>(C& c) {
    heed::MohAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                      .head_dim = c.has_attr("head_dim") ? c.integer("head_dim") : 0,
                                      .shared_heads = c.integer("shared_heads"),
                                      .routed_heads = c.integer("routed_heads"),
                                      .qk_norm = c.has_attr("qk_norm") && c.flag("qk_norm")}};
    c.parameters(op);
    const auto [out, loss] = op(c.in(rank<3>, "x"));
    c.out("out", out);
    c.out("load_balance_loss", loss);
  });
  add("moh_llama_attention", []<class C>(C& c) {
    heed::MohLlamaAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                           .num_kv_heads = c.integer("num_kv_heads"),
                                           .shared_heads = c.integer("shared_heads"),
                                           .routed_heads = c.integer("routed_heads"),
                                           .rope_base = c.number_or_null("rope_base").value_or(10000),
                                           .causal = !c.has_attr("causal") || c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

template <class C>
heed::HeadRoutingOptions routing_of(C& c) {
  return {.choice = c.text("choice") == "expert" ? heed::HeadChoice::kExpert : heed::HeadChoice::kToken,
          .score = c.text("score") == "sigmoid" ? heed::HeadScore::kSigmoid : heed::HeadScore::kSoftmax,
          .top_k = c.integer_or_null("top_k").value_or(0),
          .capacity = c.integer_or_null("capacity").value_or(0),
          .renormalize = c.has_attr("renormalize") && c.flag("renormalize")};
}

void add_routed_heads(Registry& add) {
  add("head_routing", []<class C>(C& c) {
    heed::HeadRouting<Scalar<C>> op{routing_of(c)};
    c.parameters(op);
    c.out("gates", op(c.in(rank<2>, "x")));
  });
  add("routed_head_attention", []<class C>(C& c) {
    heed::RoutedHeadAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                             .head_dim = c.integer("head_dim"),
                                             .causal = c.flag("causal"),
                                             .routing = routing_of(c)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("switchhead_attention", []<class C>(C& c) {
    heed::SwitchHeadAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                             .num_experts = c.integer("num_experts"),
                                             .head_dim = c.integer("head_dim"),
                                             .top_k = c.integer_or_null("top_k").value_or(2),
                                             .rotate_fraction = c.number_or_null("rotate_fraction").value_or(0.5),
                                             .rope_base = c.number_or_null("rope_base").value_or(10000)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

void add_mixture_of_head(Registry& add) {
  add_moh_attention(add);
  add_routed_heads(add);
}

const Adapters kMixtureOfHead{add_mixture_of_head};

}  // namespace

}  // namespace conformance
