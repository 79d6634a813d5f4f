// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/self.md.
#include "heed/self/alibi_slopes.hpp"
#include "heed/self/kv_cache_attention.hpp"
#include "heed/self/multi_head_attention.hpp"
#include "heed/self/relative_position_bias.hpp"
#include "heed/self/rotary_position_embedding.hpp"
#include "heed/self/scaled_dot_product_attention.hpp"
#include "heed/self/varlen_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::RotaryScaling rotary_scaling(const std::string& name) {
  if (name == "none") return heed::RotaryScaling::kNone;
  if (name == "linear") return heed::RotaryScaling::kLinear;
  if (name == "ntk") return heed::RotaryScaling::kNtk;
  if (name == "dynamic_ntk") return heed::RotaryScaling::kDynamicNtk;
  if (name == "yarn") return heed::RotaryScaling::kYarn;
  throw std::invalid_argument("no rotary scaling has the name " + name);
}

void add_rotary_position_embedding(Registry& add) {
  add("rotary_position_embedding", []<class C>(C& c) {
    heed::RotaryPositionEmbedding rope;
    auto& options = rope.options;
    if (c.has_attr("rotary_dim")) options.rotary_dim = c.integer("rotary_dim");
    if (c.has_attr("base")) options.base = c.number("base");
    if (c.has_attr("interleaved")) options.interleaved = c.flag("interleaved");
    if (c.has_attr("inverse")) options.inverse = c.flag("inverse");
    if (c.has_attr("scaling")) options.scaling = rotary_scaling(c.text("scaling"));
    if (c.has_attr("factor")) options.factor = c.number("factor");
    if (c.has_attr("original_max_position")) options.original_max_position = c.integer("original_max_position");
    if (c.has_attr("beta_fast")) options.beta_fast = c.number("beta_fast");
    if (c.has_attr("beta_slow")) options.beta_slow = c.number("beta_slow");
    options.attention_factor = c.number_or_null("attention_factor");
    c.out("out", rope(c.in(rank<4>, "x"), c.indices(rank<2>, "positions")));
  });
}

void add_alibi_slopes(Registry& add) {
  add.without_gradient("alibi_slopes",
                       []<class C>(C& c) { c.out("slopes", heed::alibi_slopes<Scalar<C>>(c.integer("num_heads"))); });
}

void add_relative_position_bias(Registry& add) {
  add("relative_position_bias", []<class C>(C& c) {
    heed::RelativePositionBias<Scalar<C>> relative;
    if (c.has_attr("bidirectional")) relative.options.bidirectional = c.flag("bidirectional");
    if (c.has_attr("num_buckets")) relative.options.num_buckets = c.integer("num_buckets");
    if (c.has_attr("max_distance")) relative.options.max_distance = c.integer("max_distance");
    const Index n = c.integer("query_length"), m = c.integer("key_length");
    const Index offset = c.has_attr("query_offset") ? c.integer("query_offset") : 0;
    c.parameters(relative);
    c.out("bias", c.call(relative, n, m, offset));
    c.out("buckets", relative.buckets(n, m, offset));
  });
}

template <class C, class Cache>
void decode(C& c, Cache cache) {
  heed::KvCacheAttention attention;
  attention.options.scale = c.number_or_null("scale");
  if (c.has_attr("softcap")) attention.options.softcap = c.number("softcap");
  if (c.has_attr("rope_base")) attention.options.rope_base = c.number("rope_base");
  c.out("out", attention(c.in(rank<4>, "q"), c.in(rank<4>, "k_new"), c.in(rank<4>, "v_new"), cache));
  c.out("k_cache", cache.k);
  c.out("v_cache", cache.v);
  c.out("cache_len", cache.lengths);
}

void add_kv_cache_attention(Registry& add) {
  add.without_gradient("kv_cache_attention", []<class C>(C& c) {
    using T = Scalar<C>;
    auto k = c.in(rank<4>, "k_cache"), v = c.in(rank<4>, "v_cache");
    auto lengths = c.indices(rank<1>, "cache_len");
    const std::string layout = c.text("layout");
    if (layout == "contiguous") {
      decode(c, heed::ContiguousCache<T>(std::move(k), std::move(v), std::move(lengths)));
    } else if (layout == "ring") {
      const Index sinks = c.has_attr("sink_tokens") ? c.integer("sink_tokens") : 0;
      decode(c, heed::RingCache<T>(std::move(k), std::move(v), std::move(lengths),
                                   {.sink_tokens = sinks, .window_size = c.integer("window_size")}));
    } else if (layout == "paged") {
      decode(c, heed::PagedCache<T>(std::move(k), std::move(v), c.indices(rank<2>, "block_table"), std::move(lengths)));
    } else {
      throw std::invalid_argument("no cache layout has the name " + layout);
    }
  });
}

void add_scaled_dot_product_attention(Registry& add) {
  add("scaled_dot_product_attention", []<class C>(C& c) {
    using T = Scalar<C>;
    const bool top_left = c.has_attr("causal_alignment") && c.text("causal_alignment") == "top_left";
    heed::ScaledDotProductAttention<T> op{
        {.scale = c.number_or_null("scale"),
         .softcap = c.number_or_null("softcap").value_or(0),
         .causal = c.has_attr("causal") && c.flag("causal"),
         .causal_alignment = top_left ? heed::CausalAlignment::kTopLeft : heed::CausalAlignment::kBottomRight,
         .window_left = c.integer_or_null("window_left").value_or(-1),
         .window_right = c.integer_or_null("window_right").value_or(-1),
         .sink_tokens = c.integer_or_null("sink_tokens").value_or(0),
         .return_lse = c.has_attr("return_lse") && c.flag("return_lse")}};
    c.parameters(op);
    typename heed::ScaledDotProductAttention<T>::Inputs in;
    std::optional<decltype(c.in(rank<4>, ""))> bias;
    if (c.has_in("attn_mask")) in.attn_mask = c.mask(rank<4>, "attn_mask");
    if (c.has_in("attn_bias")) in.attn_bias = heed::values_of(bias.emplace(c.in(rank<4>, "attn_bias")));
    if (c.has_in("q_segment")) in.q_segment = c.indices(rank<2>, "q_segment");
    if (c.has_in("kv_segment")) in.kv_segment = c.indices(rank<2>, "kv_segment");
    if (c.has_in("kv_len")) in.kv_len = c.indices(rank<1>, "kv_len");
    if (c.has_in("prefix_len")) in.prefix_len = c.indices(rank<1>, "prefix_len");
    const auto result = op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), in);
    c.out("out", result.out);
    if (op.options.return_lse) c.out("lse", result.lse);
  });
}

void add_varlen_attention(Registry& add) {
  add("varlen_attention", []<class C>(C& c) {
    const heed::VarlenAttention op{{.scale = c.number_or_null("scale"),
                                    .softcap = c.number_or_null("softcap").value_or(0),
                                    .causal = c.has_attr("causal") && c.flag("causal"),
                                    .window_left = c.integer_or_null("window_left").value_or(-1),
                                    .window_right = c.integer_or_null("window_right").value_or(-1)}};
    c.out("out", op(c.in(rank<3>, "q"), c.in(rank<3>, "k"), c.in(rank<3>, "v"), c.indices(rank<1>, "cu_seqlens_q"),
                    c.indices(rank<1>, "cu_seqlens_k")));
  });
}

void add_multi_head_attention(Registry& add) {
  add("multi_head_attention", []<class C>(C& c) {
    using T = Scalar<C>;
    heed::MultiHeadAttention<T> op{{.num_heads = c.integer("num_heads"),
                                    .num_kv_heads = c.integer_or_null("num_kv_heads").value_or(0),
                                    .causal = c.has_attr("causal") && c.flag("causal"),
                                    .add_zero_attn = c.has_attr("add_zero_attn") && c.flag("add_zero_attn"),
                                    .return_weights = c.has_attr("return_weights") && c.flag("return_weights")}};
    c.parameters(op);
    typename heed::MultiHeadAttention<T>::Inputs in;
    if (c.has_in("attn_mask")) in.attn_mask = c.mask(rank<2>, "attn_mask");
    if (c.has_in("key_mask")) in.key_mask = c.mask(rank<2>, "key_mask");
    const auto result = op(c.in(rank<3>, "query"), c.in(rank<3>, "key"), c.in(rank<3>, "value"), in);
    c.out("out", result.out);
    if (op.options.return_weights) c.out("weights", result.weights);
  });
}

void add_self(Registry& add) {
  add_scaled_dot_product_attention(add);
  add_varlen_attention(add);
  add_multi_head_attention(add);
  add_rotary_position_embedding(add);
  add_alibi_slopes(add);
  add_relative_position_bias(add);
  add_kv_cache_attention(add);
}

const Adapters kSelf{add_self};

}  // namespace

}  // namespace conformance
