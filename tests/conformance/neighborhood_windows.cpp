// SPDX-License-Identifier: Apache-2.0
// Adapters for the windows, bands and lines of mechanisms/local_linear.md.
#include "heed/neighborhood/axial_attention.hpp"
#include "heed/neighborhood/block_local_attention.hpp"
#include "heed/neighborhood/channel_group_attention.hpp"
#include "heed/neighborhood/dual_attention_block.hpp"
#include "heed/neighborhood/dual_scale_attention.hpp"
#include "heed/neighborhood/dual_scope_attention.hpp"
#include "heed/neighborhood/longformer_attention.hpp"
#include "heed/neighborhood/sliding_window_attention.hpp"
#include "heed/neighborhood/window_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <class C>
auto attend_triple(C& c, const auto& attend) {
  c.out("out", attend(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v")));
}

template <int R, class C>
void run_axial_attention(C& c) {
  heed::AxialAttention<Scalar<C>> op{
      {.num_heads = c.integer("num_heads"), .sum_outputs = !c.has_attr("sum_outputs") || c.flag("sum_outputs")}, R - 2};
  c.parameters(op);
  c.out("out", op(c.in(rank<R>, "x")));
}

void add_bands(Registry& add) {
  add("sliding_window_attention", []<class C>(C& c) {
    attend_triple(c, heed::SlidingWindowAttention{
                         {.window_size = c.integer("window_size"),
                          .dilation = c.has_attr("dilation") ? c.integers("dilation") : std::vector<Index>{1},
                          .causal = c.has_attr("causal") && c.flag("causal"),
                          .scale = c.number_or_null("scale")}});
  });
  add("block_local_attention", []<class C>(C& c) {
    attend_triple(c, heed::BlockLocalAttention{{.block_size = c.integer("block_size"),
                                                .look_back = c.integer_or_null("look_back").value_or(0),
                                                .look_forward = c.integer_or_null("look_forward").value_or(0),
                                                .causal = c.has_attr("causal") && c.flag("causal"),
                                                .scale = c.number_or_null("scale")}});
  });
  add("dual_scope_attention", []<class C>(C& c) {
    attend_triple(
        c, heed::DualScopeAttention{{.world_size = c.integer("world_size"),
                                     .padding = c.integer("padding"),
                                     .top_k = c.integer("top_k"),
                                     .attn_scale = c.number_or_null("attn_scale").value_or(1),
                                     .token_num_scale = c.has_attr("token_num_scale") && c.flag("token_num_scale"),
                                     .local_bias = c.number_or_null("local_bias").value_or(0),
                                     .global_bias = c.number_or_null("global_bias").value_or(0)}});
  });
  add("longformer_attention", []<class C>(C& c) {
    heed::LongformerAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                             .window_size = c.integer("window_size"),
                                             .dilation = c.integer_or_null("dilation").value_or(1)}};
    c.parameters(op);
    const auto x = c.in(rank<3>, "x");
    if (c.has_in("padding_mask")) {
      c.out("out", op(x, c.mask(rank<2>, "global_mask"), c.mask(rank<2>, "padding_mask")));
    } else {
      c.out("out", op(x, c.mask(rank<2>, "global_mask")));
    }
  });
  add("dual_scale_attention", []<class C>(C& c) {
    heed::DualScaleAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                            .local_context = c.integer_or_null("local_context").value_or(3),
                                            .global_context = c.integer_or_null("global_context").value_or(30),
                                            .use_local = !c.has_attr("use_local") || c.flag("use_local"),
                                            .use_global = !c.has_attr("use_global") || c.flag("use_global"),
                                            .eps = c.number_or_null("eps").value_or(1e-12)},
                                           c.integer("num_layers")};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    c.out("attention", result.attention);
    c.out("out", result.out);
  });
}

void add_grids(Registry& add) {
  add("axial_attention", []<class C>(C& c) {
    switch (c.shape("x").size()) {
      case 3:
        return run_axial_attention<3>(c);
      case 4:
        return run_axial_attention<4>(c);
      case 5:
        return run_axial_attention<5>(c);
      case 6:
        return run_axial_attention<6>(c);
      default:
        throw std::invalid_argument("a grid of more axes than 4");
    }
  });
  add("window_attention", []<class C>(C& c) {
    const auto window = c.integers("window_size");
    const auto shift = c.has_attr("shift") ? c.integers("shift") : std::vector<Index>{0, 0};
    heed::WindowAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                         .window_size = {window.front(), window.back()},
                                         .shift = {shift.front(), shift.back()},
                                         .scale = c.number_or_null("scale")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
  add("channel_group_attention", []<class C>(C& c) {
    heed::ChannelGroupAttention<Scalar<C>> op{{.groups = c.integer("groups"), .scale = c.number_or_null("scale")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("dual_attention_block", []<class C>(C& c) {
    heed::DualAttentionBlock<Scalar<C>> op{{.h = c.integer("h"),
                                            .w = c.integer("w"),
                                            .num_heads = c.integer("num_heads"),
                                            .groups = c.integer("groups"),
                                            .window_size = c.integer("window_size"),
                                            .mlp_ratio = c.number_or_null("mlp_ratio").value_or(4),
                                            .ffn = !c.has_attr("ffn") || c.flag("ffn")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    c.out("spatial", result.spatial);
    c.out("out", result.out);
  });
}

void add_neighborhood_windows(Registry& add) {
  add_bands(add);
  add_grids(add);
}

const Adapters kNeighborhoodWindows{add_neighborhood_windows};

}  // namespace

}  // namespace conformance
