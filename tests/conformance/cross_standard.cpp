// SPDX-License-Identifier: Apache-2.0
// Adapters for the standard relatives of mechanisms/cross_dual.md that change the scores or the streams of
// self-attention.
#include "heed/cross/differential_attention.hpp"
#include "heed/cross/joint_attention.hpp"
#include "heed/cross/mm_dit_block.hpp"
#include "heed/cross/multi_head_latent_attention.hpp"
#include "heed/cross/qk_norm_attention.hpp"
#include "heed/cross/talking_heads_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::QueryKeyNorm query_key_norm(const std::string& name) {
  if (name == "none") return heed::QueryKeyNorm::kNone;
  if (name == "rms") return heed::QueryKeyNorm::kRms;
  if (name == "ln" || name == "layer") return heed::QueryKeyNorm::kLayer;
  if (name == "l2") return heed::QueryKeyNorm::kL2;
  throw std::invalid_argument("no norm of queries and keys has the name " + name);
}

void add_scores(Registry& add) {
  add("qk_norm_attention", []<class C>(C& c) {
    heed::QkNormAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .norm = query_key_norm(c.text("norm")), .eps = c.number_or_null("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("talking_heads_attention", []<class C>(C& c) {
    heed::TalkingHeadsAttention<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("differential_attention", []<class C>(C& c) {
    heed::DifferentialAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                               .num_kv_heads = c.integer("num_kv_heads"),
                                               .depth = c.integer("depth"),
                                               .rope_base = c.number("rope_base"),
                                               .causal = c.flag("causal"),
                                               .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("multi_head_latent_attention", []<class C>(C& c) {
    heed::MultiHeadLatentAttention<Scalar<C>> op{
        {.form = c.text("form") == "naive" ? heed::LatentForm::kNaive : heed::LatentForm::kAbsorbed,
         .num_heads = c.integer("num_heads"),
         .nope_dim = c.integer("nope_dim"),
         .rope_dim = c.integer("rope_dim"),
         .value_dim = c.integer("value_dim"),
         .q_rank = c.integer("q_rank"),
         .kv_rank = c.integer("kv_rank"),
         .rope_base = c.number("rope_base"),
         .mscale = c.number("mscale"),
         .eps = c.number("eps")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"), c.in(rank<3>, "past_latent"), c.in(rank<3>, "past_rope_key"));
    c.out("latent", result.latent);
    c.out("rope_key", result.rope_key);
    c.out("out", result.out);
  });
}

template <class C>
typename heed::JointAttention<Scalar<C>>::Options joint_options(const C& c) {
  return {.num_heads = c.integer("num_heads"),
          .qk_norm = query_key_norm(c.text("qk_norm")),
          .pre_only = c.flag("pre_only")};
}

void add_joint(Registry& add) {
  add("joint_attention", []<class C>(C& c) {
    heed::JointAttention<Scalar<C>> op{joint_options(c)};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "context"), c.in(rank<3>, "x"));
    c.out("context_out", result.context_out);
    c.out("x_out", result.x_out);
  });
  add("mm_dit_block", []<class C>(C& c) {
    heed::MmDitBlock<Scalar<C>> op{joint_options(c)};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "context"), c.in(rank<3>, "x"), c.in(rank<2>, "cond"));
    c.out("context_out", result.context_out);
    c.out("x_out", result.x_out);
  });
}

void add_cross_standard(Registry& add) {
  add_scores(add);
  add_joint(add);
}

const Adapters kCrossStandard{add_cross_standard};

}  // namespace

}  // namespace conformance
