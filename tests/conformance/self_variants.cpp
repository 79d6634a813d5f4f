// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/self.md that change a part of self-attention: projections, queries,
// positions, heads.
#include "heed/self/decoupled_query_key_attention.hpp"
#include "heed/self/duo_attention.hpp"
#include "heed/self/duo_attention_cached.hpp"
#include "heed/self/gated_mlp_mixing.hpp"
#include "heed/self/height_self_attention.hpp"
#include "heed/self/minimal_attention.hpp"
#include "heed/self/multi_dconv_head_attention.hpp"
#include "heed/self/multi_query_self_attention.hpp"
#include "heed/self/relative_convolutional_attention.hpp"
#include "heed/self/transformer_xl_attention.hpp"
#include "heed/self/two_stage_target_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::MinimalSimilarity minimal_similarity(const std::string& name) {
  if (name == "query_key") return heed::MinimalSimilarity::kQueryKey;
  if (name == "collapsed") return heed::MinimalSimilarity::kCollapsed;
  if (name == "symmetric_shared") return heed::MinimalSimilarity::kSymmetricShared;
  if (name == "symmetric_mirrored") return heed::MinimalSimilarity::kSymmetricMirrored;
  if (name == "symmetric_cholesky") return heed::MinimalSimilarity::kSymmetricCholesky;
  throw std::invalid_argument("no similarity has the name " + name);
}

heed::MinimalValue minimal_value(const std::string& name) {
  if (name == "full") return heed::MinimalValue::kFull;
  if (name == "collapsed") return heed::MinimalValue::kCollapsed;
  if (name == "omitted") return heed::MinimalValue::kOmitted;
  throw std::invalid_argument("no value has the name " + name);
}

void add_projections(Registry& add) {
  add("gated_mlp_mixing", []<class C>(C& c) {
    heed::GatedMlpMixing<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("decoupled_query_key_attention", []<class C>(C& c) {
    heed::DecoupledQueryKeyAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .causal = !c.has_attr("causal") || c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "qk_source")));
  });
  add("minimal_attention", []<class C>(C& c) {
    heed::MinimalAttention<Scalar<C>> op{{.similarity = minimal_similarity(c.text("similarity")),
                                          .value = minimal_value(c.text("value")),
                                          .num_heads = c.integer_or_null("num_heads").value_or(1),
                                          .causal = c.has_attr("causal") && c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

// The mask (B, M) that a case may have, in `tensor`, which must outlive the inputs.
template <class Inputs, class C>
Inputs with_mask(const C& c, heed::Tensor<std::uint8_t, 2>& tensor) {
  Inputs inputs;
  if (c.has_in("mask")) {
    tensor = c.mask(rank<2>, "mask");
    inputs.mask = tensor;
  }
  return inputs;
}

void add_target(Registry& add) {
  add("target_attention", []<class C>(C& c) {
    using Attention = heed::TargetAttention<Scalar<C>>;
    Attention op{
        {.score = c.has_attr("score") && c.text("score") == "mlp" ? heed::TargetScore::kMlp : heed::TargetScore::kDot,
         .time_dim = c.has_attr("time_dim") ? c.integer("time_dim") : 0}};
    c.parameters(op);
    heed::Tensor<std::uint8_t, 2> mask;
    const auto result = op(c.in(rank<2>, "query"), c.in(rank<3>, "key"), c.in(rank<3>, "value"),
                           with_mask<typename Attention::Inputs>(c, mask));
    c.out("weights", result.weights);
    c.out("out", result.out);
  });
  add("two_stage_target_attention", []<class C>(C& c) {
    heed::TwoStageTargetAttention op;
    if (c.has_attr("top_k")) op.options.top_k = c.integer("top_k");
    if (c.has_attr("time_dim")) op.options.time_dim = c.integer("time_dim");
    heed::Tensor<std::uint8_t, 2> mask;
    const auto result = op(c.in(rank<2>, "query"), c.in(rank<3>, "key"), c.in(rank<3>, "value"),
                           c.in(rank<2>, "target_value"), with_mask<heed::TwoStageTargetAttention::Inputs>(c, mask));
    c.out("indices", result.indices);
    c.out("out", result.out);
    c.out("features", result.features);
  });
}

void add_duo(Registry& add) {
  add("duo_attention", []<class C>(C& c) {
    const bool hard = c.has_attr("mode") && c.text("mode") == "hard";
    heed::DuoAttention<Scalar<C>> op{{.mode = hard ? heed::DuoMode::kHard : heed::DuoMode::kBlend}};
    if (c.has_attr("sink_size")) op.options.sink_size = c.integer("sink_size");
    if (c.has_attr("recent_size")) op.options.recent_size = c.integer("recent_size");
    if (c.has_attr("threshold")) op.options.threshold = c.number("threshold");
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
  add.without_gradient("duo_attention_cached", []<class C>(C& c) {
    using T = Scalar<C>;
    const heed::DuoAttentionCached op{{.num_full_heads = c.integer("num_full_heads"),
                                       .sink_size = c.integer_or_null("sink_size").value_or(64),
                                       .recent_size = c.integer_or_null("recent_size").value_or(256),
                                       .prefill = c.has_attr("prefill") && c.text("prefill") == "streaming"
                                                      ? heed::DuoPrefill::kStreaming
                                                      : heed::DuoPrefill::kDense}};
    const auto k_new = c.in(rank<4>, "k_new"), v_new = c.in(rank<4>, "v_new");
    const auto full_k = c.in(rank<4>, "full_k"), full_v = c.in(rank<4>, "full_v");
    const Index held = full_k.dimension(2), total = held + k_new.dimension(2);
    auto cache =
        op.template cache<T>(k_new.dimension(0), k_new.dimension(1), total, k_new.dimension(3), v_new.dimension(3));
    cache.full.append(full_k, full_v);
    cache.stream.append(c.in(rank<4>, "stream_k"), c.in(rank<4>, "stream_v"));
    c.out("out", op(c.in(rank<4>, "q"), k_new, v_new, cache));
    c.out("full_k", cache.full.k);
    c.out("full_v", cache.full.v);
    c.out("stream_k", cache.stream.in_order(cache.stream.k));
    c.out("stream_v", cache.stream.in_order(cache.stream.v));
  });
}

void add_multi_query(Registry& add) {
  add("l_query_self_attention", []<class C>(C& c) {
    heed::LQuerySelfAttention<Scalar<C>> op;
    if (c.has_attr("window_size")) op.options.window_size = c.integer("window_size");
    if (c.has_attr("num_heads")) op.options.num_heads = c.integer("num_heads");
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.mask(rank<2>, "mask")));
  });
  add("multi_query_self_attention", []<class C>(C& c) {
    heed::MultiQuerySelfAttention<Scalar<C>> op;
    if (c.has_attr("short_window_size")) op.options.short_window_size = c.integer("short_window_size");
    if (c.has_attr("long_window_size")) op.options.long_window_size = c.integer("long_window_size");
    if (c.has_attr("alpha")) op.options.alpha = c.number("alpha");
    if (c.has_attr("num_heads")) op.options.num_heads = c.integer("num_heads");
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.mask(rank<2>, "mask")));
  });
}

void add_relative(Registry& add) {
  add("multi_dconv_head_attention", []<class C>(C& c) {
    heed::MultiDconvHeadAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"),
         .per_head_kernel = c.has_attr("per_head_kernel") && c.flag("per_head_kernel"),
         .causal = !c.has_attr("causal") || c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("relative_convolutional_attention", []<class C>(C& c) {
    heed::RelativeConvolutionalAttention<Scalar<C>> op{
        {.num_heads = c.integer_or_null("num_heads").value_or(8), .causal = !c.has_attr("causal") || c.flag("causal")}};
    c.parameters(op);
    const auto x = c.in(rank<3>, "x");
    c.out("out", c.has_in("mem") ? op(x, c.in(rank<3>, "mem")) : op(x));
  });
  add("transformer_xl_attention", []<class C>(C& c) {
    heed::TransformerXlAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .head_dim = c.integer("head_dim")}};
    if (c.has_attr("clamp_len")) op.options.clamp_len = c.integer("clamp_len");
    c.parameters(op);
    const auto x = c.in(rank<3>, "x");
    c.out("out", c.has_in("mem") ? op(x, c.in(rank<3>, "mem")) : op(x));
  });
}

void add_height_self_attention(Registry& add) {
  add("height_self_attention", []<class C>(C& c) {
    using Attention = heed::HeightSelfAttention<Scalar<C>>;
    Attention op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    heed::Tensor<std::uint8_t, 4> mask;
    typename Attention::Inputs inputs;
    if (c.has_in("mask")) {
      mask = c.mask(rank<4>, "mask");
      inputs.mask = mask;
    }
    c.out("out", op(c.in(rank<5>, "x"), inputs));
  });
}

void add_self_variants(Registry& add) {
  add_projections(add);
  add_target(add);
  add_duo(add);
  add_multi_query(add);
  add_relative(add);
  add_height_self_attention(add);
}

const Adapters kSelfVariants{add_self_variants};

}  // namespace

}  // namespace conformance
