// SPDX-License-Identifier: Apache-2.0
// Adapters for the neighbourhoods of mechanisms/local_linear.md.
#include "heed/autodiff/neighborhood.hpp"
#include "heed/neighborhood/halo_attention.hpp"
#include "heed/neighborhood/neighborhood_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <int Axes, class C>
void run_neighborhood_attention(C& c) {
  const auto per_axis = [&]<class Value>(const std::vector<Value>& values) {
    std::array<Value, std::size_t(Axes)> result;
    for (std::size_t a = 0; a < result.size(); ++a) result[a] = values.size() == 1 ? values.front() : values.at(a);
    return result;
  };
  const std::vector<Index> ones{1};
  heed::NeighborhoodAttention<Scalar<C>, Axes> op{
      {.kernel_size = per_axis(c.integers("kernel_size")),
       .dilation = per_axis(c.has_attr("dilation") ? c.integers("dilation") : ones),
       .stride = per_axis(c.has_attr("stride") ? c.integers("stride") : ones),
       .causal = per_axis(c.has_attr("causal") ? c.flags("causal") : std::vector<bool>{false}),
       .scale = c.number_or_null("scale")}};
  c.parameters(op);
  constexpr int axes = Axes + 3;
  const auto q = c.in(rank<axes>, "q"), k = c.in(rank<axes>, "k"), v = c.in(rank<axes>, "v");
  const auto result =
      c.has_in("k_extra") ? op(q, k, v, c.in(rank<4>, "k_extra"), c.in(rank<4>, "v_extra")) : op(q, k, v);
  c.out("lse", result.lse);
  c.out("out", result.out);
}

void add_neighborhood(Registry& add) {
  add("neighborhood_attention", []<class C>(C& c) {
    switch (c.shape("q").size()) {
      case 4:
        return run_neighborhood_attention<1>(c);
      case 5:
        return run_neighborhood_attention<2>(c);
      case 6:
        return run_neighborhood_attention<3>(c);
      default:
        throw std::invalid_argument("a grid has one, two or three axes");
    }
  });
  add("halo_attention", []<class C>(C& c) {
    heed::HaloAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                       .block_size = c.integer_or_null("block_size").value_or(8),
                                       .halo_size = c.integer_or_null("halo_size").value_or(3),
                                       .stride = c.integer_or_null("stride").value_or(1),
                                       .avg_down = c.has_attr("avg_down") && c.flag("avg_down"),
                                       .scale_pos_embed = c.has_attr("scale_pos_embed") && c.flag("scale_pos_embed"),
                                       .mask_padding = c.has_attr("mask_padding") && c.flag("mask_padding")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
}

const Adapters kNeighborhood{add_neighborhood};

}  // namespace

}  // namespace conformance
