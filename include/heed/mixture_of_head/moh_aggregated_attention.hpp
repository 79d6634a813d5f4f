// SPDX-License-Identifier: Apache-2.0
// moh_aggregated_attention: a window and a pooled map under one softmax, with the gates of a mixture of heads.
#pragma once

#include <cmath>

#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/resample.hpp"
#include "heed/mixture_of_head/coordinate_bias.hpp"
#include "heed/mixture_of_head/moh_gates.hpp"

namespace heed::inline HEED_ISA {

/// Every position attends to the valid neighbours of its window and to the cells of a pooled map, under one softmax.
///
///   heed::MohAggregatedAttention<float> attend{{.num_heads = 8, .input_resolution = {56, 56}, .sr_ratio = 8,
///                                               .shared_heads = 4, .routed_heads = 2}};
///   auto [y, load_balance_loss] = attend(x, relative_pos_index, relative_coords_table);      // or with a device first
///
/// x (B, N, C), N = h w, out as x. With u = unit(q), c_n the number of valid neighbours of position n, L =
/// window_size^2 and Lp = ph pw cells, ph = floor(h / sr_ratio) or fixed_pool_size, and qs = (u + query_embedding)
/// softplus(temperature) ln(c_n + Lp):
///
/// 1. local score qs . unit(k) + local_bias_table for the neighbours, pool score qs . unit(kp) + bias for the cells, kp
///    and vp by the weights kv of LN(adaptive mean of gelu(pool.proj(x))), the bias by the network cpb.
/// 2. a = softmax over both; o = sum over neighbours of (a + u local_tokens.weight + local_tokens.bias) v + sum over
/// cells
///    of a vp. The added term is not normalised.
/// 3. out = concat_h(g_h o_h) out.weight^T + out.bias with the gates g of MohGates.
///
/// q.weight and out.weight (C, C), kv.weight (2 C, C), keys first, with biases or none; query_embedding (H, 1, D),
/// temperature (H, 1, 1), pool.proj.weight (C, C), pool.norm (C), local_bias_table (H, L), local_tokens.weight (H, D,
/// L), local_tokens.bias (H, 1, L); relative_pos_index (N Lp) int32, relative_coords_table (T, 2). Throws heed::Error
/// for shapes and options that do not fit. Time and memory O(B N (L + Lp) C). The same bits for any number of threads.
/// Source: Jin et al., ICML 2025; the authors' MoH-ViT, AggregatedAttention.
template <Real T>
struct MohAggregatedAttention {
  struct Options {
    Index num_heads = 8;
    std::array<Index, 2> input_resolution{56, 56};
    Index window_size = 3;      ///< odd
    Index sr_ratio = 1;         ///< 1 or more
    Index fixed_pool_size = 0;  ///< 0: from sr_ratio
    Index shared_heads = 0;
    Index routed_heads = 1;
  };

  Options options = {};
  Linear<T> q = {}, kv = {}, pool_proj = {}, out = {};
  LayerNorm<T> pool_norm = {};
  Tensor<T, 3> query_embedding = {}, temperature = {};
  Tensor<T, 2> local_bias_table = {};
  Tensor<T, 3> local_tokens = {}, local_tokens_bias = {};
  CoordinateBias<T> cpb = {};
  MohGates<T> gates = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("q.", q, f);
    visit_part("kv.", kv, f);
    f("query_embedding", query_embedding);
    f("temperature", temperature);
    visit_part("pool.proj.", pool_proj, f);
    visit_part("pool.norm.", pool_norm, f);
    visit_part("cpb.", cpb, f);
    f("local_bias_table", local_bias_table);
    f("local_tokens.weight", local_tokens);
    f("local_tokens.bias", local_tokens_bias);
    visit_part("out.", out, f);
    visit_part("", gates, f);
  }

  template <Operand X, TensorLike I, Operand C>
  auto operator()(const X& x, const I& relative_pos_index, const C& relative_coords_table) const {
    return (*this)(DeviceRef(), x, relative_pos_index, relative_coords_table);
  }
  template <Device D, Operand X, TensorLike I, Operand C>
  auto operator()(const D& device, const X& x, const I& relative_pos_index, const C& relative_coords_table) const {
    static_assert(kOperandRank<X> == 3, "heed::MohAggregatedAttention: x is (B, N, C)");
    const Index batch = sizes_of(x)[0], tokens = sizes_of(x)[1], channels = sizes_of(x)[2], heads = options.num_heads;
    check(channels, tokens);
    const auto [ph, pw] = pool_size();
    const Index cells = ph * pw, near = options.window_size * options.window_size;
    cpb.check(kName, heads, tokens * cells, sizes_of(relative_coords_table), const_view(relative_pos_index));
    auto [g, loss] = gates(kName, {heads, options.shared_heads, options.routed_heads}, device, x);
    const auto q_flat = q(device, x);
    const auto kv_flat = kv(device, x);
    const auto half = [&](const auto& both, Index i) {
      return split_heads(view(both).slice(2, i * channels, channels), heads);
    };

    // The neighbours of every position, -1 outside of the map, and what they make of the scale.
    Tensor<std::int32_t, 3> neighbours(batch, heads, tokens * near);
    Tensor<std::uint8_t, 4> valid(1, 1, tokens, near + cells);
    Tensor<T, 4> logarithms(1, 1, tokens, 1);
    find_neighbours(neighbours, valid, logarithms, cells);

    const auto u = l2_normalize(device, split_heads(q_flat, heads));
    const auto moved = add(device, u, parameter_with(query_embedding, x).template promote<4>());
    const auto lengths = softplus(device, parameter_with(temperature, x));
    const auto longer = multiply(device, moved, view(lengths).template promote<4>());
    const auto queries = multiply(device, longer, constant_with(std::move(logarithms), x));

    const auto windows = [&](const auto& rows) { return gather(device, rows, neighbours); };  // (B, H, N L, D)
    const auto k_near = windows(l2_normalize(device, half(kv_flat, 0)));
    const auto v_near = windows(half(kv_flat, 1));
    const auto products = multiply(device, view(k_near).split(2, near), view(queries).split(2, 1));
    const auto local = sum(device, products, {4});
    const auto local_scores =
        add(device, view(local).select(4, 0), parameter_with(local_bias_table, x).split(1, near).template promote<4>());

    const auto features = gelu(device, pool_proj(device, x));
    const auto map = view(features).split(1, options.input_resolution[1]).permute({0, 3, 1, 2});
    const auto pooled = adaptive_average_pool(device, map, {ph, pw});
    const auto pool_tokens = pool_norm(device, view(pooled).merge(2).permute({0, 2, 1}));
    const auto pool_kv = kv(device, pool_tokens);
    const auto pool_keys = l2_normalize(device, half(pool_kv, 0));
    const auto biases = cpb(device, relative_coords_table, const_view(relative_pos_index), x);
    const auto pool_scores = add(device, matmul(device, queries, view(pool_keys).permute({0, 1, 3, 2})),
                                 CoordinateBias<T>::by_pair(biases, cells));

    const auto scores = concat<3>(device, local_scores, pool_scores);
    const auto seen = packed_with(valid, x);
    const auto weights =
        softmax(device, masked_fill(device, scores, const_view(seen), -std::numeric_limits<double>::infinity()));
    const auto learned = add(device, matmul(device, u, parameter_with(local_tokens, x).template promote<4>()),
                             parameter_with(local_tokens_bias, x).template promote<4>());
    const auto near_weights = add(device, view(weights).slice(3, 0, near), learned);
    const auto near_values = multiply(device, view(v_near).split(2, near), view(near_weights).split(3, 1));
    const auto near_sums = sum(device, near_values, {3});
    const auto far = matmul(device, view(weights).slice(3, near, cells), half(pool_kv, 1));
    const auto mixed = add(device, view(near_sums).select(3, 0), far);  // (B, H, N, D)
    const auto gated = multiply(device, view(mixed).permute({0, 2, 1, 3}), view(g).split(2, 1));
    auto result = out(device, view(gated).merge(2));
    return detail::MohResult<decltype(result), decltype(loss)>{std::move(result), std::move(loss)};
  }

 private:
  static constexpr std::string_view kName = "moh_aggregated_attention";

  std::array<Index, 2> pool_size() const {
    const auto& size = options.input_resolution;
    if (options.fixed_pool_size > 0) return {options.fixed_pool_size, options.fixed_pool_size};
    return {size[0] / options.sr_ratio, size[1] / options.sr_ratio};
  }

  void find_neighbours(Tensor<std::int32_t, 3>& neighbours, Tensor<std::uint8_t, 4>& valid, Tensor<T, 4>& logarithms,
                       Index cells) const {
    const auto [h, w] = options.input_resolution;
    const Index side = options.window_size, reach = side / 2, near = side * side, tokens = h * w;
    valid.setConstant(1);
    for (Index n = 0; n < tokens; ++n) {
      Index count = 0;
      for (Index l = 0; l < near; ++l) {
        const Index i = n / w + l / side - reach, j = n % w + l % side - reach;
        const bool inside = i >= 0 && i < h && j >= 0 && j < w;
        valid(0, 0, n, l) = inside;
        count += inside;
        if (neighbours.size() > 0) neighbours.data()[n * near + l] = inside ? std::int32_t(i * w + j) : -1;
      }
      logarithms(0, 0, n, 0) = T(std::log(double(count + cells)));
    }
    for (Index row = 1; row < neighbours.dimension(0) * neighbours.dimension(1); ++row)
      std::copy_n(neighbours.data(), tokens * near, neighbours.data() + row * tokens * near);
  }

  void check(Index channels, Index tokens) const {
    const Index heads = options.num_heads, near = options.window_size * options.window_size;
    const auto& size = options.input_resolution;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require(size[0] > 0 && size[1] > 0 && size[0] * size[1] == tokens, kName, "input_resolution ", shape_text(size),
            " must have N = ", tokens, " positions");
    require(options.window_size > 0 && options.window_size % 2 == 1, kName, "window_size must be odd, got ",
            options.window_size);
    require(options.sr_ratio > 0 && options.fixed_pool_size >= 0 && pool_size()[0] > 0 && pool_size()[1] > 0, kName,
            "sr_ratio = ", options.sr_ratio, " and fixed_pool_size = ", options.fixed_pool_size,
            " leave no cell of a map of ", shape_text(size));
    require(options.fixed_pool_size < std::min(size[0], size[1]), kName, "fixed_pool_size = ", options.fixed_pool_size,
            " must be below the shorter side of ", shape_text(size));
    check_linear(kName, "q", q, channels, channels);
    check_linear(kName, "kv", kv, channels, 2 * channels);
    check_linear(kName, "pool.proj", pool_proj, channels, channels);
    check_linear(kName, "out", out, channels, channels);
    const auto has = [&](std::string_view name, const auto& tensor, const auto& sizes) {
      require_shape(kName, name, const_view(tensor).sizes, sizes);
    };
    const Index width = channels / heads;
    has("query_embedding", query_embedding, std::array<Index, 3>{heads, 1, width});
    has("temperature", temperature, std::array<Index, 3>{heads, 1, 1});
    has("local_bias_table", local_bias_table, std::array<Index, 2>{heads, near});
    has("local_tokens.weight", local_tokens, std::array<Index, 3>{heads, width, near});
    has("local_tokens.bias", local_tokens_bias, std::array<Index, 3>{heads, 1, near});
  }
};

}  // namespace heed::inline HEED_ISA
