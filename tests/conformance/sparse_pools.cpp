// SPDX-License-Identifier: Apache-2.0
// Adapters for the normalisers and the multiple-instance attention of mechanisms/sparse_routing.md.
#include "heed/autodiff/entmax.hpp"
#include "heed/autodiff/row_weights.hpp"
#include "heed/sparse/acmil_attention.hpp"
#include "heed/sparse/acmil_multihead_attention.hpp"
#include "heed/sparse/attention_diversity_loss.hpp"
#include "heed/sparse/attention_entropy_loss.hpp"
#include "heed/sparse/entmax.hpp"
#include "heed/sparse/entmax_attention.hpp"
#include "heed/sparse/gated_attention_pool.hpp"
#include "heed/sparse/sigmoid_attention.hpp"
#include "heed/sparse/stochastic_topk_instance_mask.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

// A loss (1) as the scalar of the file.
template <class C, class X>
void scalar_out(C& c, std::string_view name, const X& loss) {
  c.out(name, heed::view(loss).template reshape<0>({}));
}

// f(rank<R>) for the rank R of an input.
template <class C, class F>
void of_rank(C& c, std::string_view name, const F& f) {
  switch (c.shape(name).size()) {
    case 1:
      return f(rank<1>);
    case 2:
      return f(rank<2>);
    case 3:
      return f(rank<3>);
    default:
      return f(rank<4>);
  }
}

// Draws have no gradient and are plain numbers in any case.
template <int R, class C>
auto draws(C& c, RankTag<R> rank) {
  const auto x = c.in(rank, "rand");
  heed::Tensor<Scalar<C>, R> copy;
  copy.resize(heed::sizes_of(x));
  heed::kernel::copy<heed::kernel::Write::kAssign>(heed::DeviceRef(), heed::values_of(x), heed::view(copy));
  return copy;
}

void add_normalizers(Registry& add) {
  add("entmax", []<class C>(C& c) {
    heed::Entmax op;
    if (c.has_attr("alpha")) op.options.alpha = c.number("alpha");
    if (c.has_attr("method")) c.text("method");
    of_rank(c, "x", [&](auto r) {
      if (c.has_in("alpha")) {
        c.out("out", op(c.in(r, "x"), c.in(r, "alpha")));
      } else {
        c.out("out", op(c.in(r, "x")));
      }
    });
  });
  add("entmax_attention", []<class C>(C& c) {
    heed::EntmaxAttention<Scalar<C>> op{{.causal = c.flag("causal"), .scale = c.number_or_null("scale")}, {}};
    if (c.has_attr("alpha")) op.options.alpha = c.number("alpha");
    c.parameters(op);
    heed::View<const std::uint8_t, 2> mask;
    if (c.has_in("key_mask")) mask = c.mask(rank<2>, "key_mask");
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), mask));
  });
  add("sigmoid_attention", []<class C>(C& c) {
    using enum heed::SigmoidNormalization;
    const std::string by = c.text("normalization");
    const heed::SigmoidAttention op{{.bias = c.number("bias"),
                                     .normalization = by == "none"   ? kNone
                                                      : by == "sqrt" ? kSqrt
                                                                     : kLinear,
                                     .causal = c.flag("causal"),
                                     .scale = c.number_or_null("scale")}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
}

template <int R, class C, class Op>
void run_acmil(C& c, RankTag<R> r, Op& op) {
  if (c.has_attr("n_masked")) op.options.n_masked = c.integer("n_masked");
  if (c.has_attr("mask_drop")) op.options.mask_drop = c.number("mask_drop");
  c.parameters(op);
  const auto report = [&](const auto& result) {
    c.out("branch_logits", result.branch_logits);
    c.out("bag_logits", result.bag_logits);
    c.out("attn_logits", result.attn_logits);
  };
  if (op.options.n_masked > 0) {
    report(op(c.in(rank<2>, "x"), draws(c, r)));
  } else {
    report(op(c.in(rank<2>, "x")));
  }
}

void add_pools(Registry& add) {
  add("gated_attention_pool", []<class C>(C& c) {
    heed::GatedAttentionPool<Scalar<C>> op{{.gated = !c.has_attr("gated") || c.flag("gated")}, {}, {}, {}};
    c.parameters(op);
    const auto result = op(c.in(rank<2>, "x"));
    c.out("attn_logits", result.attn_logits);
    c.out("out", result.out);
  });
  add("stochastic_topk_instance_mask", []<class C>(C& c) {
    const heed::StochasticTopkInstanceMask op{{.n_masked = c.integer_or_null("n_masked").value_or(10),
                                               .mask_drop = c.number_or_null("mask_drop").value_or(0.6)}};
    of_rank(c, "x", [&](auto r) {
      const auto result = op(c.in(r, "x"), draws(c, r));
      c.out("out", result.out);
      c.out("weights", result.weights);
    });
  });
  add("acmil_attention", []<class C>(C& c) {
    heed::AcmilAttention<Scalar<C>> op;
    run_acmil(c, rank<2>, op);
  });
  add("acmil_multihead_attention", []<class C>(C& c) {
    heed::AcmilMultiheadAttention<Scalar<C>> op{{.num_heads = c.integer_or_null("num_heads").value_or(8)}};
    run_acmil(c, rank<3>, op);
  });
  add("attention_diversity_loss",
      []<class C>(C& c) { scalar_out(c, "loss", heed::AttentionDiversityLoss()(c.in(rank<3>, "x"))); });
  add("attention_entropy_loss", []<class C>(C& c) {
    const heed::AttentionEntropyLoss op{{.weight = c.number("weight")}};
    scalar_out(c, "loss", op(c.in(rank<2>, "x")));
  });
}

void add_sparse_pools(Registry& add) {
  add_normalizers(add);
  add_pools(add);
}

const Adapters kSparsePools{add_sparse_pools};

}  // namespace

}  // namespace conformance
