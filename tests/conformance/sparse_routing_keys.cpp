// SPDX-License-Identifier: Apache-2.0
// Adapters for choices key by key and by hashing in mechanisms/sparse_routing.md.
#include "heed/sparse/dynamic_mask_attention_layer.hpp"
#include "heed/sparse/lsh_attention.hpp"
#include "heed/sparse/topk_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_dynamic_mask(Registry& add) {
  add("dynamic_mask_attention", []<class C>(C& c) {
    const heed::DynamicMaskAttention op{
        {.window_size = c.integer_or_null("window_size").value_or(0),
         .causal = c.flag("causal"),
         .scale = c.number_or_null("scale"),
         .mask_type = c.text("mask_type") == "relu" ? heed::BiasMask::kRelu : heed::BiasMask::kTopK,
         .block_size = c.integer_or_null("block_size").value_or(0)}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.in(rank<4>, "attn_bias")));
  });
  add("dynamic_mask_attention_layer", []<class C>(C& c) {
    heed::DynamicMaskAttentionLayer<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"),
         .num_kv_heads = c.integer("num_kv_heads"),
         .head_dim = c.integer("head_dim"),
         .window_size = c.integer("window_size"),
         .bias_form = c.text("bias_form") == "exp" ? heed::DynamicBias::kExp : heed::DynamicBias::kLinear,
         .rope_base = c.number_or_null("rope_base").value_or(10000)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

void add_keys(Registry& add) {
  add("topk_attention", []<class C>(C& c) {
    const heed::TopkAttention op{
        {.top_k = c.integer("top_k"), .causal = c.flag("causal"), .scale = c.number_or_null("scale")}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
  });
  add("lsh_attention", []<class C>(C& c) {
    const heed::LshAttention op{
        {.bucket_size = c.integer("bucket_size"),
         .causal = c.flag("causal"),
         .attend_across_buckets = !c.has_attr("attend_across_buckets") || c.flag("attend_across_buckets")}};
    heed::LshAttention::Inputs inputs;
    if (c.has_in("input_mask")) inputs.input_mask = heed::const_view(c.mask(rank<2>, "input_mask"));
    const auto rotations = c.in(rank<3>, "rotations");
    const auto result = op(c.in(rank<3>, "qk"), c.in(rank<3>, "v"), heed::values_of(rotations), inputs);
    c.out("buckets", result.buckets);
    c.out("out", result.out);
  });
}

void add_sparse_keys(Registry& add) {
  add_dynamic_mask(add);
  add_keys(add);
}

const Adapters kSparseRoutingKeys{add_sparse_keys};

}  // namespace

}  // namespace conformance
