// SPDX-License-Identifier: Apache-2.0
// dual_mix_attention: tokens that attend to a map gated by position and to one mixed by channel.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/normalize.hpp"
#include "heed/channel/channel_affinity_attention.hpp"
#include "heed/channel/spatial_gate.hpp"

namespace heed::inline HEED_ISA {

/// tokens_out = ln(spatial_attn(tokens, s, s) + channel_attn(tokens, c, c) + tokens), x_out = s + c: s is a
/// SpatialGate (mean first, no norm, residual) of z = x + pos, c a ChannelAffinityAttention of it, both as tokens.
///
///   heed::DualMixAttention<float> mix{{.num_heads = 8}};
///   auto [tokens, f] = mix(tokens, x, pos);
///
/// tokens (B, T, C), x and pos (B, C, h, w), tokens_out as tokens, x_out (B, h w, C); gamma (1), spatial.weight (1, 2,
/// k, k) with odd k (7), {spatial_attn,channel_attn}.{q,k,v}.weight (I, C), .out.weight (C, I) with biases or without,
/// I = C / 2 in the paper, a multiple of num_heads; ln (C). Throws heed::Error for shapes and options that do not fit
/// and a map without positions. Time O(B (T N I + N C^2)) with N = h w. The same bits for any number of threads.
/// Source: QTSeg 2024, the authors' code.
template <Real T>
struct DualMixAttention {
  struct Options {
    Index num_heads = 8;
  };
  template <class Tokens, class Map>
  struct Result {
    Tokens tokens;
    Map x;
  };

  Options options = {};
  ChannelAffinityAttention<T> channel = {};
  SpatialGate<T> spatial{{.order = SpatialGate<T>::Order::kMeanMax, .residual = true}};
  ProjectedAttention<T> spatial_attn = {}, channel_attn = {};
  LayerNorm<T> ln = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("", channel, f);
    f("spatial.weight", spatial.conv.weight);
    visit_parts(f, "spatial_attn.", spatial_attn, "channel_attn.", channel_attn, "ln.", ln);
  }

  template <Operand Z, Operand X, Operand P>
  auto operator()(const Z& tokens, const X& x, const P& pos) const {
    return (*this)(DeviceRef(), tokens, x, pos);
  }
  template <Device D, Operand Z, Operand X, Operand P>
  auto operator()(const D& device, const Z& tokens_like, const X& x_like, const P& pos_like) const {
    static_assert(kOperandRank<Z> == 3 && kOperandRank<P> == 4,
                  "heed::DualMixAttention: tokens are (B, T, C), x and pos (B, C, h, w)");
    require_map(kName, x_like);
    const auto sizes = sizes_of(x_like);
    const auto of_tokens = sizes_of(tokens_like);
    require_shape(kName, "pos", sizes_of(pos_like), sizes);
    require_shape(kName, "tokens", of_tokens, std::array<Index, 3>{sizes[0], of_tokens[1], sizes[1]});
    spatial_attn.check(kName, "spatial_attn.", sizes[1], sizes[1], options.num_heads);
    channel_attn.check(kName, "channel_attn.", sizes[1], sizes[1], options.num_heads);
    const auto tokens = parameter_with(tokens_like, x_like, pos_like);
    const auto z = add(device, parameter_with(x_like, tokens), parameter_with(pos_like, tokens));
    const auto gated = spatial(device, z);
    const auto mixed = channel(device, z);
    const auto as_tokens = [](const auto& map) { return view(map).merge(2).permute({0, 2, 1}); };
    const auto s = as_tokens(gated), c = as_tokens(mixed);
    const auto by_position = spatial_attn(device, softmax_attention(), options.num_heads, tokens, s, s);
    const auto by_channel = channel_attn(device, softmax_attention(), options.num_heads, tokens, c, c);
    const auto sum = add(device, add(device, by_position, by_channel), tokens);
    auto tokens_out = ln(device, sum);
    auto x_out = add(device, s, c);
    return Result<decltype(tokens_out), decltype(x_out)>{std::move(tokens_out), std::move(x_out)};
  }

 private:
  static constexpr std::string_view kName = "dual_mix_attention";
};

}  // namespace heed::inline HEED_ISA
