// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/self.md.
#include "heed/self/multi_head_attention.hpp"
#include "heed/self/scaled_dot_product_attention.hpp"
#include "heed/self/varlen_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

// Reads an input that a case may have into `tensor`, which must outlive the view.
template <class Read, class X, class Optional>
void view_if(bool there, const Read& read, X& tensor, Optional& view) {
  if (!there) return;
  tensor = read();
  view = tensor;
}

void add_scaled_dot_product_attention(Registry& add) {
  add("scaled_dot_product_attention", []<class C>(C& c) {
    using T = Scalar<C>;
    heed::ScaledDotProductAttention<T> op{{.scale = c.number_or_null("scale"),
                                           .softcap = c.number("softcap"),
                                           .causal = c.flag("causal"),
                                           .causal_alignment = c.text("causal_alignment") == "top_left"
                                                                   ? heed::CausalAlignment::kTopLeft
                                                                   : heed::CausalAlignment::kBottomRight,
                                           .window_left = c.integer("window_left"),
                                           .window_right = c.integer("window_right"),
                                           .sink_tokens = c.integer("sink_tokens"),
                                           .return_lse = c.flag("return_lse")}};
    c.parameters(op);
    typename heed::ScaledDotProductAttention<T>::Inputs in;
    heed::Tensor<std::uint8_t, 4> mask;
    heed::Tensor<T, 4> bias;
    heed::Tensor<std::int32_t, 2> q_segment, kv_segment;
    heed::Tensor<std::int32_t, 1> kv_len, prefix_len;
    view_if(
        c.has_in("attn_mask"), [&] { return c.mask(rank<4>, "attn_mask"); }, mask, in.attn_mask);
    view_if(
        c.has_in("attn_bias"), [&] { return c.in(rank<4>, "attn_bias"); }, bias, in.attn_bias);
    view_if(
        c.has_in("q_segment"), [&] { return c.indices(rank<2>, "q_segment"); }, q_segment, in.q_segment);
    view_if(
        c.has_in("kv_segment"), [&] { return c.indices(rank<2>, "kv_segment"); }, kv_segment, in.kv_segment);
    view_if(
        c.has_in("kv_len"), [&] { return c.indices(rank<1>, "kv_len"); }, kv_len, in.kv_len);
    view_if(
        c.has_in("prefix_len"), [&] { return c.indices(rank<1>, "prefix_len"); }, prefix_len, in.prefix_len);
    const auto result = op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), in);
    c.out("out", result.out);
    if (op.options.return_lse) c.out("lse", result.lse);
  });
}

void add_varlen_attention(Registry& add) {
  add("varlen_attention", []<class C>(C& c) {
    const heed::VarlenAttention op{{.scale = c.number_or_null("scale"),
                                    .softcap = c.number("softcap"),
                                    .causal = c.flag("causal"),
                                    .window_left = c.integer("window_left"),
                                    .window_right = c.integer("window_right")}};
    c.out("out", op(c.in(rank<3>, "q"), c.in(rank<3>, "k"), c.in(rank<3>, "v"), c.indices(rank<1>, "cu_seqlens_q"),
                    c.indices(rank<1>, "cu_seqlens_k")));
  });
}

void add_multi_head_attention(Registry& add) {
  add("multi_head_attention", []<class C>(C& c) {
    using T = Scalar<C>;
    heed::MultiHeadAttention<T> op{{.num_heads = c.integer("num_heads"),
                                    .num_kv_heads = c.integer("num_kv_heads"),
                                    .causal = c.flag("causal"),
                                    .add_zero_attn = c.flag("add_zero_attn"),
                                    .return_weights = c.flag("return_weights")}};
    c.parameters(op);
    typename heed::MultiHeadAttention<T>::Inputs in;
    heed::Tensor<std::uint8_t, 2> attn_mask, key_mask;
    view_if(
        c.has_in("attn_mask"), [&] { return c.mask(rank<2>, "attn_mask"); }, attn_mask, in.attn_mask);
    view_if(
        c.has_in("key_mask"), [&] { return c.mask(rank<2>, "key_mask"); }, key_mask, in.key_mask);
    const auto result = op(c.in(rank<3>, "query"), c.in(rank<3>, "key"), c.in(rank<3>, "value"), in);
    c.out("out", result.out);
    if (op.options.return_weights) c.out("weights", result.weights);
  });
}

}  // namespace

void add_self(Registry& add) {
  add_scaled_dot_product_attention(add);
  add_varlen_attention(add);
  add_multi_head_attention(add);
}

}  // namespace conformance
