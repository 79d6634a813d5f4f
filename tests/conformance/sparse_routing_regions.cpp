// SPDX-License-Identifier: Apache-2.0
// Adapters for the regions of mechanisms/sparse_routing.md.
#include "heed/sparse/attention_lepe.hpp"
#include "heed/sparse/bi_level_routing_attention.hpp"
#include "heed/sparse/bi_level_routing_attention_nchw.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::RegionPool pool_of(const std::string& name) {
  if (name == "identity") return heed::RegionPool::kIdentity;
  if (name == "avgpool") return heed::RegionPool::kAverage;
  if (name == "maxpool") return heed::RegionPool::kMax;
  if (name == "ada_avgpool") return heed::RegionPool::kAdaptiveAverage;
  if (name == "ada_maxpool") return heed::RegionPool::kAdaptiveMax;
  throw std::invalid_argument("no pooling of regions has the name " + name);
}

void add_bi_level(Registry& add) {
  add("bi_level_routing_attention", []<class C>(C& c) {
    heed::BiLevelRoutingAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"),
         .n_win = c.integer("n_win"),
         .top_k = c.integer("top_k"),
         .qk_dim = c.integer_or_null("qk_dim").value_or(0),
         .scale = c.number_or_null("scale").value_or(0),
         .kv_downsample =
             c.has_attr("kv_downsample_mode") ? pool_of(c.text("kv_downsample_mode")) : heed::RegionPool::kIdentity,
         .kv_downsample_ratio = c.integer_or_null("kv_downsample_ratio").value_or(4),
         .kv_per_win = c.integer_or_null("kv_per_win").value_or(4),
         .soft_routing = c.has_attr("soft_routing") && c.flag("soft_routing"),
         .diff_routing = c.has_attr("diff_routing") && c.flag("diff_routing"),
         .param_routing = c.has_attr("param_routing") && c.flag("param_routing"),
         .kernel_size = c.integer_or_null("kernel_size").value_or(3),
         .auto_pad = c.has_attr("auto_pad") && c.flag("auto_pad"),
         .out_proj = !c.has_attr("out_proj") || c.flag("out_proj")}};
    c.parameters(op);
    const auto [out, route_index] = op(c.in(rank<4>, "x"));
    c.out("route_index", route_index);
    c.out("out", out);
  });
  add("bi_level_routing_attention_nchw", []<class C>(C& c) {
    heed::BiLevelRoutingAttentionNchw<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                                     .n_win = c.integer("n_win"),
                                                     .scale = c.number_or_null("scale").value_or(0),
                                                     .top_k = c.integer("top_k")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
  add("attention_lepe", []<class C>(C& c) {
    heed::AttentionLepe<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"),
         .lepe_on = c.text("lepe_on") == "value" ? heed::LepeOn::kValue : heed::LepeOn::kInput,
         .scale = c.number_or_null("scale").value_or(0)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
}

const Adapters kSparseRoutingRegions{add_bi_level};

}  // namespace

}  // namespace conformance
