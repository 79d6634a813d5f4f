// SPDX-License-Identifier: Apache-2.0
// item_local_gated_fusion: a branch that attends within each item, mixed with the tokens themselves by a gate.
#pragma once

#include <vector>

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/items.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/block/blend.hpp"
#include "heed/block/deviation_norm.hpp"
#include "heed/block/embedding.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/mlp.hpp"

namespace heed::inline HEED_ISA {

enum class ItemMode {
  kEncoder,  ///< items of item_length tokens, the last token with the last item_length before it
  kDecoder,  ///< one item, causal
};

/// out = g x + (1 - g) u: with z = attn_norm(x + position code), h = attention(z) + z inside of each item, u =
/// ffn_norm(h), u = u + ffn(u) (ReLU), and g = sigmoid(x . gate[0] - u . gate[1]), the softmax over the two.
///
///   heed::ItemLocalGatedFusion<float> fuse{{.num_heads = 2, .item_length = 4}};
///   auto y = fuse(x, valid);                                // or fuse(device, x, valid); fuse(x) where all are valid
///
/// x and out (B, N, C); valid (B, N) uint8, of the encoder: rows of 0 get no attention, but are seen as keys.
/// position.weight (L + 2, C): code (i mod L) + 1, or L + 1 for the last token, in the encoder, i in the decoder. q, k,
/// v C to C, biases optional, without a projection behind; gate.weight (2, C). The norms divide by std + eps. The
/// encoder needs N > L, the decoder N <= L + 1. Throws heed::Error for shapes and options that do not fit. Time O(N L
/// C): the items are intervals of the engine. Source: Liu et al. 2025 (DiscRec), the authors' DiscRecT5Stack.moe4co.
template <Real T>
struct ItemLocalGatedFusion {
  struct Options {
    Index num_heads = 2;
    Index item_length = 4;  ///< L
    ItemMode mode = ItemMode::kEncoder;
    double eps = 1e-8;  ///< of both norms, added to the standard deviation
  };

  Options options;
  Embedding<T> position = {};
  DeviationNorm<T> attn_norm = {}, ffn_norm = {};
  Linear<T> q = {}, k = {}, v = {};
  Mlp<T> ffn = {};
  Tensor<T, 2> gate = {};

  explicit ItemLocalGatedFusion(const Options& o = {}) : options(o) { attn_norm.eps = ffn_norm.eps = o.eps; }

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "position.", position, "attn_norm.", attn_norm, "q.", q, "k.", k, "v.", v);
    visit_parts(f, "ffn_norm.", ffn_norm, "ffn.", ffn);
    f("gate.weight", gate);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    Tensor<std::uint8_t, 2> all(sizes_of(x)[0], sizes_of(x)[1]);
    all.setConstant(1);
    return (*this)(DeviceRef(), x, all);
  }
  template <Operand X, TensorLike M>
  auto operator()(const X& x, const M& valid) const {
    return (*this)(DeviceRef(), x, valid);
  }
  template <Device D, Operand X, TensorLike M>
  auto operator()(const D& device, const X& x, const M& valid) const {
    static_assert(kOperandRank<X> == 3, "heed::ItemLocalGatedFusion: x is (B, N, C)");
    check(sizes_of(x), const_view(valid).sizes);
    const bool encoder = options.mode == ItemMode::kEncoder;
    const Index tokens = sizes_of(x)[1];
    const auto codes = embedding(device, parameter_with(position.weight, x), position_codes(tokens));
    const auto z = attn_norm(device, add(device, x, codes));
    const auto queries = q(device, z), keys = k(device, z), values = v(device, z);
    const auto rule = when(encoder, items(options.item_length, encoder ? tokens : options.item_length + 1)) &&
                      when(!encoder, causal());
    const auto mixed = attend_heads(device, softmax_attention(rule), options.num_heads, queries, keys, values);
    const auto h = add(device, encoder ? masked_fill(device, mixed, const_view(valid).split(1, 1), 0) : mixed, z);
    const auto normal = ffn_norm(device, h);
    const auto u = add(device, normal, ffn(device, Relu(), normal));
    const auto gates = parameter_with(gate, x);
    const Tensor<T, 1> none;
    const auto own = linear(device, x, view(gates).slice(0, 0, 1), none);
    const auto local = linear(device, u, view(gates).slice(0, 1, 1), none);
    return blend(device, sigmoid(device, subtract(device, own, local)), x, u);
  }

 private:
  static constexpr std::string_view kName = "item_local_gated_fusion";

  Tensor<std::int32_t, 2> position_codes(Index tokens) const {
    Tensor<std::int32_t, 2> codes(1, tokens);
    for (Index i = 0; i < tokens; ++i)
      codes(0, i) = std::int32_t(options.mode == ItemMode::kDecoder ? i
                                 : i + 1 == tokens                  ? options.item_length + 1
                                                                    : i % options.item_length + 1);
    return codes;
  }

  void check(const std::array<Index, 3>& x, const std::array<Index, 2>& valid) const {
    const Index length = options.item_length, channels = x[2];
    require(length > 0, kName, "item_length must be 1 or more, got ", length);
    require(options.num_heads > 0 && channels % options.num_heads == 0, kName, "num_heads = ", options.num_heads,
            " must divide C = ", channels);
    require(options.mode == ItemMode::kEncoder ? x[1] > length : x[1] <= length + 1, kName, "item_length = ", length,
            " does not fit N = ", x[1], " tokens: the encoder needs N > L, the decoder N <= L + 1");
    require_shape(kName, "valid", valid, std::array<Index, 2>{x[0], x[1]});
    require_shape(kName, "position.weight", const_view(position.weight).sizes,
                  std::array<Index, 2>{length + 2, channels});
    require_shape(kName, "gate.weight", const_view(gate).sizes, std::array<Index, 2>{2, channels});
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v);
    check_mlp(kName, "ffn", ffn, channels, channels);
  }
};

}  // namespace heed::inline HEED_ISA
