// SPDX-License-Identifier: Apache-2.0
// Adapters for the state-space mixers, agents and gated mixers of mechanisms/local_linear.md.
#include "heed/linear/agent_attention.hpp"
#include "heed/linear/diagonal_attention_loss.hpp"
#include "heed/linear/l2vit_block.hpp"
#include "heed/linear/mambamixer.hpp"
#include "heed/linear/ninformer_block.hpp"
#include "heed/linear/selective_scan.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <class C, class Op>
void run_tokens(C& c, Op& op) {
  c.parameters(op);
  c.out("out", op(c.in(rank<3>, "x")));
}

void add_scans(Registry& add) {
  add("selective_scan", []<class C>(C& c) {
    using T = Scalar<C>;
    heed::SelectiveScan<T> op{{.delta_softplus = c.has_attr("delta_softplus") && c.flag("delta_softplus")}};
    c.parameters(op);
    using Sequence = decltype(c.in(rank<3>, "u"));
    const auto optional = [&](const char* name) { return c.has_in(name) ? c.in(rank<3>, name) : Sequence(); };
    const auto u = c.in(rank<3>, "u"), delta = c.in(rank<3>, "delta"), b = c.in(rank<3>, "B"),
               in_c = c.in(rank<3>, "C");
    const auto z = optional("z"), state = optional("state");
    const auto result = op(u, delta, b, in_c, z, state);
    c.out("out", result.out);
    c.out("state", result.state);
  });
  add("selective_token_mixer", []<class C>(C& c) {
    heed::SelectiveTokenMixer<Scalar<C>> op{{.bidirectional = c.has_attr("bidirectional") && c.flag("bidirectional")}};
    run_tokens(c, op);
  });
  add("selective_channel_mixer", []<class C>(C& c) {
    heed::SelectiveChannelMixer<Scalar<C>> op;
    run_tokens(c, op);
  });
  add("mambamixer", []<class C>(C& c) {
    heed::MambaMixer<Scalar<C>> op({.num_layers = c.integer("num_layers"),
                                    .bidirectional = c.has_attr("bidirectional") && c.flag("bidirectional"),
                                    .pre_norm = c.has_attr("pre_norm") && c.flag("pre_norm")});
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    c.out("out", result.out);
    c.out("token", result.token);
  });
}

void add_gates(Registry& add) {
  add("mixer_gating_unit", []<class C>(C& c) {
    heed::MixerGatingUnit<Scalar<C>> op;
    run_tokens(c, op);
  });
  add("ninformer_block", []<class C>(C& c) {
    heed::NinformerBlock<Scalar<C>> op;
    run_tokens(c, op);
  });
  add("diagonal_attention_loss", []<class C>(C& c) {
    const heed::DiagonalAttentionLoss op{{.num_layers = c.integer("num_layers"),
                                          .local_target = c.number_or_null("local_target").value_or(0.9),
                                          .global_target = c.number_or_null("global_target").value_or(0.1)}};
    c.out("loss", op(c.in(rank<5>, "attention")));
  });
}

void add_l2vit(Registry& add) {
  add("l2vit_linear_attention", []<class C>(C& c) {
    heed::L2vitLinearAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .denom_min = c.number_or_null("denom_min").value_or(100)}};
    run_tokens(c, op);
  });
  add("local_concentration_module", []<class C>(C& c) {
    heed::LocalConcentrationModule<Scalar<C>> op{{.h = c.integer("h"), .w = c.integer("w")}};
    run_tokens(c, op);
  });
  add("l2vit_block", []<class C>(C& c) {
    heed::L2vitBlock<Scalar<C>> op({.h = c.integer("h"),
                                    .w = c.integer("w"),
                                    .num_heads = c.integer("num_heads"),
                                    .enhanced = !c.has_attr("enhanced") || c.flag("enhanced")});
    run_tokens(c, op);
  });
}

void add_agents(Registry& add) {
  add("agent_attention", []<class C>(C& c) {
    heed::AgentAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                        .agents = c.integer("agents"),
                                        .h = c.integer("h"),
                                        .w = c.integer("w"),
                                        .sr_ratio = c.integer_or_null("sr_ratio").value_or(1),
                                        .cls_token = c.has_attr("cls_token") && c.flag("cls_token")}};
    run_tokens(c, op);
  });
  add("agent_attention_core", []<class C>(C& c) {
    const heed::AgentAttentionCore op{{.scale = c.number_or_null("scale"),
                                       .scale2_power = c.number_or_null("scale2_power").value_or(1),
                                       .value_shortcut = c.number_or_null("value_shortcut").value_or(0)}};
    using Bias = decltype(c.in(rank<3>, "bias_agent"));
    const auto bias = [&](const char* name) { return c.has_in(name) ? c.in(rank<3>, name) : Bias(); };
    const auto q = c.in(rank<4>, "q"), agent = c.in(rank<4>, "agent"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    const auto of_agents = bias("bias_agent"), of_queries = bias("bias_query");
    c.out("out", op(q, agent, k, v, of_agents, of_queries));
  });
}

void add_linear_mixers(Registry& add) {
  add_scans(add);
  add_gates(add);
  add_l2vit(add);
  add_agents(add);
}

const Adapters kLinearMixers{add_linear_mixers};

}  // namespace

}  // namespace conformance
