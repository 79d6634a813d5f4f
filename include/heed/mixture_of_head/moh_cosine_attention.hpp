// SPDX-License-Identifier: Apache-2.0
// moh_cosine_attention: length-scaled cosine attention with the gates of a mixture of heads.
#pragma once

#include <cmath>

#include "heed/attention/heads.hpp"
#include "heed/attention/score/standard.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/mixture_of_head/coordinate_bias.hpp"
#include "heed/mixture_of_head/moh_gates.hpp"

namespace heed::inline HEED_ISA {

/// out = concat_h(g_h softmax(s_h + bias_h) v_h) out.weight^T + out.bias with s = ((unit(q) + query_embedding)
/// softplus(temperature) ln(h w)) unit(k)^T and the gates g of MohGates.
///
///   heed::MohCosineAttention<float> attend{{.num_heads = 24, .input_resolution = {7, 7}, .shared_heads = 12,
///                                           .routed_heads = 6}};
///   auto [y, load_balance_loss] = attend(x, relative_pos_index, relative_coords_table);      // or with a device first
///
/// x (B, N, C), N = h w, out as x; relative_pos_index (N N) int32, row by row (query, key), into the rows of
/// relative_coords_table (T, 2), which the network cpb turns into biases. qkv.weight (3 C, C), out.weight (C, C), with
/// biases or none; query_embedding (H, 1, D), temperature (H, 1, 1), D = C / num_heads. One position: its own value.
/// All heads are computed, time O(B N^2 C). Throws heed::Error for shapes and options that do not fit. The same bits
/// for any number of threads. Source: Jin et al., ICML 2025; the authors' MoH-ViT, Attention.
template <Real T>
struct MohCosineAttention {
  struct Options {
    Index num_heads = 8;
    std::array<Index, 2> input_resolution{7, 7};
    Index shared_heads = 0;
    Index routed_heads = 1;
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};
  Tensor<T, 3> query_embedding = {}, temperature = {};
  CoordinateBias<T> cpb = {};
  MohGates<T> gates = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("qkv.", qkv, f);
    f("query_embedding", query_embedding);
    f("temperature", temperature);
    visit_parts(f, "cpb.", cpb, "out.", out, "", gates);
  }

  template <Operand X, TensorLike I, Operand C>
  auto operator()(const X& x, const I& relative_pos_index, const C& relative_coords_table) const {
    return (*this)(DeviceRef(), x, relative_pos_index, relative_coords_table);
  }
  template <Device D, Operand X, TensorLike I, Operand C>
  auto operator()(const D& device, const X& x, const I& relative_pos_index, const C& relative_coords_table) const {
    static_assert(kOperandRank<X> == 3, "heed::MohCosineAttention: x is (B, N, C)");
    const Index channels = sizes_of(x)[2], tokens = sizes_of(x)[1], heads = options.num_heads;
    check(channels, tokens);
    cpb.check(kName, heads, tokens * tokens, sizes_of(relative_coords_table), const_view(relative_pos_index));
    const Index width = channels / heads;
    auto [g, loss] = gates(kName, {heads, options.shared_heads, options.routed_heads}, device, x);
    const auto biases = cpb(device, relative_coords_table, const_view(relative_pos_index), x);
    const auto packed = qkv(device, x);
    const auto part = [&](Index i) { return split_heads(view(packed).slice(2, i * channels, channels), heads); };
    const auto moved =
        add(device, l2_normalize(device, part(0)), parameter_with(query_embedding, x).template promote<4>());
    const auto lengths = scale(device, softplus(device, parameter_with(temperature, x)), std::log(double(tokens)));
    const auto queries = multiply(device, moved, view(lengths).template promote<4>());
    const auto keys = l2_normalize(device, part(1));
    const auto attend = softmax_attention(bias(CoordinateBias<T>::by_pair(biases, tokens)), {.scale = 1});
    const auto mixed = attend_heads(device, attend, view(queries), view(keys), part(2));
    const auto gated = multiply(device, view(mixed).split(2, width), view(g).split(2, 1));
    auto result = out(device, view(gated).merge(2));
    return detail::MohResult<decltype(result), decltype(loss)>{std::move(result), std::move(loss)};
  }

 private:
  static constexpr std::string_view kName = "moh_cosine_attention";

  void check(Index channels, Index tokens) const {
    const Index heads = options.num_heads;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require(options.input_resolution[0] * options.input_resolution[1] == tokens, kName, "input_resolution ",
            shape_text(options.input_resolution), " must have N = ", tokens, " positions");
    check_linear(kName, "qkv", qkv, channels, 3 * channels);
    check_linear(kName, "out", out, channels, channels);
    require_shape(kName, "query_embedding", const_view(query_embedding).sizes,
                  std::array<Index, 3>{heads, 1, channels / heads});
    require_shape(kName, "temperature", const_view(temperature).sizes, std::array<Index, 3>{heads, 1, 1});
  }
};

}  // namespace heed::inline HEED_ISA
