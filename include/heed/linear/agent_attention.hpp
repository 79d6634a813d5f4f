// SPDX-License-Identifier: Apache-2.0
// agent_attention: softmax attention through pooled agents, with learned biases and a depthwise branch.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/resample.hpp"
#include "heed/block/tokens.hpp"
#include "heed/linear/agent_attention_core.hpp"

namespace heed::inline HEED_ISA {

/// The tokens of an h x w map attend through A = p^2 agents, the means of q over p x p cells:
///
/// 1. q of x; k and v of x, or, with sr_ratio r > 1, of norm(sr(x)), sr a convolution of r x r cells of the map.
/// 2. U = softmax(agents k^T / sqrt(D) + bias 1) v, o = softmax(q agents^T / sqrt(D) + bias 2) U, per head. Bias 1 of
///    agent a and key (y, x) is bias_agent.table[h, a] resized to the keys' map + row[h, a, y] + column[h, a, x]; bias
///    2 the same of bias_query, for query (y, x).
/// 3. out = (o + dw(v as a map)) out.weight^T + out.bias, dw a depthwise 3x3 convolution, of v resized to h x w for r
/// > 1.
///
///   heed::AgentAttention<float> attend{{.num_heads = 8, .agents = 49, .h = 56, .w = 56, .sr_ratio = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C), N = h w, or with `cls_token` 1 + h w, the class token first: it is no part of any map, gets
/// nothing from dw, and has bias_agent.cls as a key and bias_query.cls as a query. {q,k,v,out}.weight (C, C), biases
/// optional; dw.weight (C, 1, 3, 3), dw.bias; bias_{agent,query}.table (H, A, any, any), bias_agent.row (H, A, h / r),
/// bias_agent.column (H, A, w / r), bias_query.row (H, h, A), bias_query.column (H, w, A), bias_{agent,query}.cls
/// (H, A); for r > 1 sr.weight (C, C, r, r), sr.bias and the layer norm norm.{weight,bias}.
///
/// Throws heed::Error for shapes and options that do not fit. Time O(B N C (A + C)); the same bits for any number of
/// threads. Source: Han et al. 2024, the authors' classes for PVT and DeiT, whose maps are square; rectangles are our
/// reading.
template <Real T>
struct AgentAttention {
  struct Options {
    Index num_heads = 1;
    Index agents = 49;       ///< a square number
    Index h = 0;             ///< rows of the map
    Index w = 0;             ///< and columns
    Index sr_ratio = 1;      ///< divides h and w
    bool cls_token = false;  ///< only with sr_ratio 1
  };
  struct Bias {
    Tensor<T, 4> table = {};
    Tensor<T, 3> row = {}, column = {};
    Tensor<T, 2> cls = {};

    template <class F>
    void for_each_parameter(F&& f) {
      f("table", table);
      f("row", row);
      f("column", column);
      f("cls", cls, heed::optional);
    }
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Conv2d<T> dw = {};
  Bias bias_agent = {}, bias_query = {};
  Conv2d<T> sr = {};
  LayerNorm<T> norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "dw.", dw);
    visit_parts(f, "bias_agent.", bias_agent, "bias_query.", bias_query);
    if (options.sr_ratio == 1) return;
    visit_parts(f, "sr.", sr, "norm.", norm);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::AgentAttention: x is (B, N, C)");
    const Index agents = check(sizes_of(x));
    const Index r = options.sr_ratio;
    if (r == 1) return run(device, x, view(x), agents);
    const auto reduced =
        conv_2d(device, map_of_tokens(kName, x, options.h, options.w), sr.weight, sr.bias, {.stride = {r, r}});
    return run(device, x, norm(device, tokens_of_map(device, reduced)), agents);
  }

 private:
  static constexpr std::string_view kName = "agent_attention";

  template <class D, class X, class S>
  auto run(const D& device, const X& x, const S& source, Index side) const {
    const Index h = options.h, w = options.w, r = options.sr_ratio, heads = options.num_heads,
                first = options.cls_token;
    const Index width = sizes_of(x)[2] / heads;
    const auto queries = q(device, x);
    const auto keys = k(device, source);
    const auto values = v(device, source);
    const auto map = [&](const auto& tokens, Index rows, Index columns) {
      return map_of_tokens(kName, view(tokens).slice(1, first, rows * columns), rows, columns);
    };
    const auto pooled = adaptive_average_pool(device, map(queries, h, w), {side, side});
    // (B, C, p, p) as (B, H, A, D), in place.
    const auto agents = view(pooled).split(1, width).merge(3).permute({0, 1, 3, 2});

    auto mixed = make_output<T, 3>(kName, sizes_of(x), x);
    const auto attend = [&](const auto& of_agents, const auto& of_queries) {
      AgentAttentionCore().into(device, split_heads(queries, heads), agents, split_heads(keys, heads),
                                split_heads(values, heads), of_agents, of_queries,
                                view(mixed).split(2, width).permute({0, 2, 1, 3}));
    };
    const auto row_1 = view(bias_agent.row).split(2, 1), column_1 = view(bias_agent.column).split(2, w / r);
    const auto row_2 = view(bias_query.row).permute({0, 2, 1}).split(2, 1);
    const auto column_2 = view(bias_query.column).permute({0, 2, 1}).split(2, w);
    const auto bias_1 = grid_bias(device, x, bias_agent.table, row_1, column_1, {h / r, w / r});
    const auto bias_2 = grid_bias(device, x, bias_query.table, row_2, column_2, {h, w});
    const auto of_agents = view(bias_1).merge(2);
    const auto of_queries = view(bias_2).merge(2).permute({0, 2, 1});
    if (options.cls_token) {
      const auto cls_1 = view(bias_agent.cls).split(1, 1), cls_2 = view(bias_query.cls).split(1, side * side);
      const auto with_cls_1 = concat<2>(device, cls_1, of_agents);
      const auto with_cls_2 = concat<1>(device, cls_2, of_queries);
      attend(view(with_cls_1), view(with_cls_2));
    } else {
      attend(of_agents, of_queries);
    }

    const auto convolved = [&](const auto& m) {
      return depthwise_tokens(device, m, dw.weight, dw.bias, ConvOptions::same(3, sizes_of(x)[2]));
    };
    const auto local =
        r == 1 ? convolved(map(values, h, w)) : convolved(resize_bilinear(device, map(values, h / r, w / r), {h, w}));
    const auto sum = add(device, view(mixed).slice(1, first, h * w).split(1, w), local);
    if (!options.cls_token) return out(device, view(sum).merge(1));
    return out(device, concat<1>(device, view(mixed).slice(1, 0, 1), view(sum).merge(1)));
  }

  // table resized + row + column, (H, A, rows, columns).
  template <class D, class X, class R>
  static auto grid_bias(const D& device, const X& x, const Tensor<T, 4>& table, const R& row, const R& column,
                        const std::array<Index, 2>& size) {
    const auto resized = resize_bilinear(device, parameter_with(table, x), size);
    return add(device, add(device, resized, row), column);
  }

  // The side of the square of agents.
  Index check(const std::array<Index, 3>& x) const {
    const auto& [num_heads, agents, h, w, r, cls] = options;
    const Index channels = x[2];
    require(num_heads > 0 && channels > 0 && channels % num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", num_heads);
    Index side = 0;
    while (side * side < agents) ++side;
    require(agents > 0 && side * side == agents, kName, "agents must be a square number, got ", agents);
    require(h > 0 && w > 0 && r > 0 && h % r == 0 && w % r == 0, kName, "h and w must be multiples of sr_ratio, got ",
            h, ", ", w, " and ", r);
    require(!cls || r == 1, kName, "cls_token needs sr_ratio 1, got ", r);
    require(x[1] == h * w + cls, kName, "x must have ", h * w + cls, " tokens, got shape ", shape_text(x));
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v, "out", out);
    require_shape(kName, "dw.weight", const_view(dw.weight).sizes, std::array<Index, 4>{channels, 1, 3, 3});
    const auto sizes = [](const auto& tensor) { return const_view(tensor).sizes; };
    for (const Bias* bias : {&bias_agent, &bias_query})
      require(bias->table.dimension(0) == num_heads && bias->table.dimension(1) == agents && bias->table.size() > 0,
              kName, bias == &bias_agent ? "bias_agent" : "bias_query",
              ".table must have shape (H, A, ..) with H = ", num_heads, " and A = ", agents, ", got ",
              shape_text(sizes(bias->table)));
    using Shape = std::array<Index, 3>;
    require_shape(kName, "bias_agent.row", sizes(bias_agent.row), Shape{num_heads, agents, h / r});
    require_shape(kName, "bias_agent.column", sizes(bias_agent.column), Shape{num_heads, agents, w / r});
    require_shape(kName, "bias_query.row", sizes(bias_query.row), Shape{num_heads, h, agents});
    require_shape(kName, "bias_query.column", sizes(bias_query.column), Shape{num_heads, w, agents});
    const std::array<Index, 2> pairs{num_heads, agents};
    if (cls) require_shape(kName, "bias_agent.cls", sizes(bias_agent.cls), pairs);
    if (cls) require_shape(kName, "bias_query.cls", sizes(bias_query.cls), pairs);
    if (r > 1) require_shape(kName, "sr.weight", sizes(sr.weight), std::array<Index, 4>{channels, channels, r, r});
    return side;
  }
};

}  // namespace heed::inline HEED_ISA
