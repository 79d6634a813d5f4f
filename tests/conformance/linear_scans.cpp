// SPDX-License-Identifier: Apache-2.0
// Adapters for linear attention and its relatives, mechanisms/local_linear.md part B.
#include "heed/linear/cosformer_attention.hpp"
#include "heed/linear/delta_rule.hpp"
#include "heed/linear/gated_linear_attention.hpp"
#include "heed/linear/linear_attention.hpp"
#include "heed/linear/multi_scale_retention.hpp"
#include "heed/linear/performer_attention.hpp"
#include "heed/linear/tnl_attention.hpp"
#include "heed/linear/transnormer_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::LinearFeatures features(const std::string& name) {
  if (name == "elu_plus_one") return heed::LinearFeatures::kEluPlusOne;
  if (name == "relu") return heed::LinearFeatures::kRelu;
  if (name == "exp") return heed::LinearFeatures::kExp;
  if (name == "identity") return heed::LinearFeatures::kIdentity;
  throw std::invalid_argument("no features have the name " + name);
}

// call(extra...) with the input state where the case has one.
template <class C, class F>
void with_state(C& c, const F& call) {
  const auto put = [&](const auto& result) {
    c.out("out", result.out);
    c.out("state", result.state);
  };
  if (c.has_in("state")) {
    put(call(c.in(rank<4>, "state")));
  } else {
    put(call());
  }
}

void add_linear_attention(Registry& add) {
  add("linear_attention", []<class C>(C& c) {
    const heed::LinearAttention op{
        {.feature_map = features(c.has_attr("feature_map") ? c.text("feature_map") : "elu_plus_one"),
         .causal = c.has_attr("causal") && c.flag("causal"),
         .normalize = !c.has_attr("normalizer") || c.text("normalizer") != "none",
         .eps = c.number_or_null("eps").value_or(1e-6),
         .scale = c.number_or_null("scale").value_or(1)}};
    heed::LinearAttention::Inputs inputs;
    if (c.has_in("key_mask")) inputs.key_mask = c.mask(rank<2>, "key_mask");
    const auto put = [&](const auto& result) {
      c.out("out", result.out);
      if (!op.options.causal) return;
      c.out("state_kv", result.state_kv);
      c.out("state_z", result.state_z);
    };
    const auto q = c.in(rank<4>, "q"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    if (c.has_in("state_kv")) {
      put(op(q, k, v, inputs, c.in(rank<4>, "state_kv"), c.in(rank<3>, "state_z")));
    } else {
      put(op(q, k, v, inputs));
    }
  });
  add("cosformer_attention", []<class C>(C& c) {
    const heed::CosformerAttention op{
        {.causal = c.has_attr("causal") && c.flag("causal"), .eps = c.number_or_null("eps").value_or(1e-6)}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
  add("performer_attention", []<class C>(C& c) {
    heed::PerformerAttention<Scalar<C>> op{{.kernel = c.has_attr("kernel") && c.text("kernel") == "relu"
                                                          ? heed::PerformerKernel::kRelu
                                                          : heed::PerformerKernel::kSoftmax,
                                            .causal = c.has_attr("causal") && c.flag("causal"),
                                            .feature_eps = c.number_or_null("feature_eps"),
                                            .eps = c.number_or_null("eps").value_or(1e-6)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
}

void add_decays(Registry& add) {
  add("gated_linear_attention", []<class C>(C& c) {
    const heed::GatedLinearAttention op{{.scale = c.number_or_null("scale")}};
    with_state(c, [&](const auto&... state) {
      return op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.in(rank<4>, "g"), state...);
    });
  });
  add("retention", []<class C>(C& c) {
    heed::Retention<Scalar<C>> op{{.scale = c.number_or_null("scale")}};
    c.parameters(op);
    with_state(c, [&](const auto&... state) {
      return op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), state...);
    });
  });
  add("lightning_attention", []<class C>(C& c) {
    heed::LightningAttention<Scalar<C>> op{{.block_size = c.integer_or_null("block_size").value_or(64)}};
    c.parameters(op);
    with_state(c, [&](const auto&... state) {
      return op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), state...);
    });
  });
  add.without_gradient("lightning_slopes", []<class C>(C& c) {
    c.out("slope",
          heed::lightning_slopes<Scalar<C>>(c.integer("num_heads"), c.integer("layer"), c.integer("num_layers")));
  });
}

template <class C>
void run_delta_rule(C& c) {
  const heed::DeltaRule op{{.scale = c.number_or_null("scale")}};
  const auto run = [&](const auto& beta) {
    with_state(c, [&](const auto&... state) {
      return op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), beta, state...);
    });
  };
  if (c.shape("beta").size() == 4) {
    run(c.in(rank<4>, "beta"));
  } else {
    run(c.in(rank<3>, "beta"));
  }
}

void add_delta_rules(Registry& add) {
  add("delta_rule", []<class C>(C& c) { run_delta_rule(c); });
  add("gated_delta_rule", []<class C>(C& c) {
    const heed::GatedDeltaRule op{{.scale = c.number_or_null("scale")}};
    with_state(c, [&](const auto&... state) {
      return op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.in(rank<3>, "beta"), c.in(rank<3>, "g"),
                state...);
    });
  });
}

void add_layers(Registry& add) {
  add("multi_scale_retention", []<class C>(C& c) {
    heed::MultiScaleRetention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .eps = c.number_or_null("eps").value_or(1e-6)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("transnormer_attention", []<class C>(C& c) {
    using Op = heed::TransnormerAttention<Scalar<C>>;
    Op op{{.num_heads = c.integer("num_heads"), .eps = c.number_or_null("eps").value_or(1e-6)}};
    c.parameters(op);
    typename Op::Inputs inputs{.position = c.integer_or_null("position").value_or(0)};
    if (c.has_in("key_mask")) inputs.key_mask = c.mask(rank<2>, "key_mask");
    with_state(c, [&](const auto&... state) { return op(c.in(rank<3>, "x"), inputs, state...); });
  });
  add("tnl_attention", []<class C>(C& c) {
    heed::TnlAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

void add_linear_scans(Registry& add) {
  add_linear_attention(add);
  add_decays(add);
  add_delta_rules(add);
  add_layers(add);
}

const Adapters kLinearScans{add_linear_scans};

}  // namespace

}  // namespace conformance
