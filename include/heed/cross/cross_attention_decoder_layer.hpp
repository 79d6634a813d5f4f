// SPDX-License-Identifier: Apache-2.0
// cross_attention_decoder_layer: self-attention, cross-attention and an MLP, each with a norm behind.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// x = norm1(x + self(x, x)), x = norm2(x + cross(x, context)), out = norm3(x + ffn(x)) (ReLU): the standard decoder
/// layer, without masks.
///
///   heed::CrossAttentionDecoderLayer<float> decode{{.num_heads = 8}};
///   auto y = decode(x, context);                            // or decode(device, x, context)
///
/// x and out (B, N, C), context (B, M, Cc); self.q, .k, .v, .out and cross.q, .out C to C, cross.k, .v Cc to C, ffn C
/// to F to C, biases optional. Throws heed::Error for shapes and options that do not fit. Time O(N (N + M) C). The same
/// bits for any number of threads. Source: Hu et al. 2023 (DMMI), the authors' Transformer_Fusion; Vaswani et al. 2017.
template <Real T>
struct CrossAttentionDecoderLayer {
  struct Options {
    Index num_heads = 8;
    double eps = 1e-5;  ///< of the norms
  };

  Options options = {};
  ProjectedAttention<T> self = {}, cross = {};
  LayerNorm<T> norm1 = {}, norm2 = {}, norm3 = {};
  Mlp<T> ffn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "self.", self, "cross.", cross, "norm1.", norm1, "norm2.", norm2, "norm3.", norm3, "ffn.", ffn);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& x, const Y& context) const {
    return (*this)(DeviceRef(), x, context);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& x, const Y& context) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::CrossAttentionDecoderLayer: x is (B, N, C) and context (B, M, C)");
    const Index channels = sizes_of(x)[2], heads = options.num_heads;
    require(sizes_of(context)[0] == sizes_of(x)[0], kName,
            "context must have shape (B, M, C) with B = ", sizes_of(x)[0], ", got ", shape_text(sizes_of(context)));
    self.check(kName, "self.", channels, channels, heads);
    cross.check(kName, "cross.", channels, sizes_of(context)[2], heads);
    check_mlp(kName, "ffn", ffn, channels, channels);
    const auto join = [&](const LayerNorm<T>& norm, const auto& stream, const auto& branch) {
      return layer_norm(device, add(device, stream, branch), norm.weight, norm.bias, options.eps);
    };
    const auto own = join(norm1, x, self(device, softmax_attention(), heads, x, x, x));
    const auto read = join(norm2, own, cross(device, softmax_attention(), heads, own, context, context));
    return join(norm3, read, ffn(device, Relu(), read));
  }

 private:
  static constexpr std::string_view kName = "cross_attention_decoder_layer";
};

}  // namespace heed::inline HEED_ISA
