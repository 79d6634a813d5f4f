// SPDX-License-Identifier: Apache-2.0
// gated_cross_attention: text reads the media that stand before it, through a gate that starts closed.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/key_ranges.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/residual.hpp"

namespace heed::inline HEED_ISA {

/// y = x + tanh(attn_gate) out(join(softmax(q k^T / sqrt(D)) v)), out = y + tanh(ffn_gate) ffn.fc2(gelu(ffn.fc1(
/// ffn_norm(y)))), q = q(norm(x)), k and v of the media, which are not normed.
///
///   heed::GatedCrossAttention<float> block{{.num_heads = 8}};
///   auto y = block(x, media, media_locations);              // or block(device, x, media, media_locations)
///
/// x and out (B, N, C), text; media (B, T, n, Cm), n tokens of each medium; media_locations (B, N) uint8, not 0 where a
/// medium's placeholder stands. Token i, with t_i placeholders up to and with it, reads medium t_i (only_immediate) or
/// media 1 .. t_i, the first being 1: an interval of keys, and the others are skipped. Before the first medium, and
/// with only_immediate beyond the last, it reads nothing and its attention is 0. q.weight (I, C), k.weight and v.weight
/// (I, Cm), out.weight (C, I), ffn.fc1.weight (F, C), ffn.fc2.weight (C, F), no bias; attn_gate and ffn_gate (1), 0 at
/// first. Throws heed::Error for shapes that do not fit. O(B N n I) for the attention, or O(B N T n I) for all media.
/// The same bits for any number of threads. Source: Alayrac et al. 2022 (Flamingo), figure 4.
template <Real T>
struct GatedCrossAttention {
  struct Options {
    Index num_heads = 8;
    bool only_immediate = true;
    double eps = 1e-5;
  };

  Options options = {};
  LayerNorm<T> norm = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 1> attn_gate = {}, ffn_gate = {};  ///< (1)
  LayerNorm<T> ffn_norm = {};
  Mlp<T> ffn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("norm.", norm, f);
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    f("v.weight", v.weight);
    f("out.weight", out.weight);
    f("attn_gate", attn_gate);
    visit_part("ffn_norm.", ffn_norm, f);
    f("ffn.fc1.weight", ffn.fc1.weight);
    f("ffn.fc2.weight", ffn.fc2.weight);
    f("ffn_gate", ffn_gate);
  }

  template <Operand X, Operand M, TensorLike L>
  auto operator()(const X& x, const M& media, const L& media_locations) const {
    return (*this)(DeviceRef(), x, media, media_locations);
  }
  template <Device D, Operand X, Operand M, TensorLike L>
  auto operator()(const D& device, const X& x, const M& media, const L& media_locations) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<M> == 4 && kRankOf<L> == 2,
                  "heed::GatedCrossAttention: x is (B, N, C), media (B, T, n, Cm), media_locations (B, N)");
    const auto s = sizes_of(x);
    const View<const std::uint8_t, 2> marks = const_view(media_locations);
    require_shape(kName, "media_locations", marks.sizes, std::array<Index, 2>{s[0], s[1]});
    require(sizes_of(media)[0] == s[0], kName, "media must have batch size B = ", s[0], ", got shape ",
            shape_text(sizes_of(media)));
    require(attn_gate.size() == 1 && ffn_gate.size() == 1, kName, "attn_gate and ffn_gate must have shape (1)");
    const auto bounds = packed_with(ranges(marks, sizes_of(media)[1], sizes_of(media)[2]), x, media);
    const auto attend =
        softmax_attention(key_ranges(view(bounds).select(0, 0).split(0, 1), view(bounds).select(0, 1).split(0, 1)));

    const auto normed = layer_norm(device, x, norm.weight, norm.bias, options.eps);
    const auto keys = k(device, media);
    const auto values = v(device, media);
    const auto mixed =
        attend_heads(device, attend, options.num_heads, q(device, normed), view(keys).merge(1), view(values).merge(1));
    const auto read = add_product(device, x, tanh(device, parameter_with(attn_gate, x, media)), out(device, mixed));
    const auto again = layer_norm(device, read, ffn_norm.weight, ffn_norm.bias, options.eps);
    return add_product(device, read, tanh(device, parameter_with(ffn_gate, read)), ffn(device, Gelu(), again));
  }

 private:
  static constexpr std::string_view kName = "gated_cross_attention";

  // Of each token, the first of its keys and what is behind the last, (2, B, N).
  Tensor<std::int32_t, 3> ranges(const View<const std::uint8_t, 2>& marks, Index media, Index tokens) const {
    Tensor<std::int32_t, 3> bounds(2, marks.size(0), marks.size(1));
    for (Index b = 0; b < marks.size(0); ++b)
      for (Index i = 0, seen = 0; i < marks.size(1); ++i) {
        seen += marks(b, i) != 0;
        const Index last = std::min(seen, media);
        const Index first = !options.only_immediate ? 0 : seen == last ? std::max<Index>(last - 1, 0) : last;
        bounds(0, b, i) = std::int32_t(first * tokens);
        bounds(1, b, i) = std::int32_t(last * tokens);
      }
    return bounds;
  }
};

}  // namespace heed::inline HEED_ISA
