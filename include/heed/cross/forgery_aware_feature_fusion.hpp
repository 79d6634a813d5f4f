// SPDX-License-Identifier: Apache-2.0
// forgery_aware_feature_fusion: cross-attention steered by the attention map of another encoder.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/attention/score/standard.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// z = norm1(x + attention(x, context)), out = norm2(z + ffn(z)) (ReLU), with scores q . k / sqrt(D) + bias: bias_ij =
/// bias_mlp(log(m_ij + 1e-6)), a vector over the heads (GELU), of m = attn_map without its class token.
///
///   heed::ForgeryAwareFeatureFusion<float> fuse{{.num_heads = 16}};
///   auto y = fuse(x, context, attn_map);                    // or fuse(device, x, context, attn_map)
///
/// x and context (B, N, C), the same grid of tokens; attn_map (B, H, N + 1, N + 1), probabilities, class token first;
/// out (B, N, C). bias_mlp.fc1 H to Hb, bias_mlp.fc2 Hb to H, q, k, v, out C to C, ffn C to F to C, biases optional.
/// Without use_attn_bias the map is not read. Throws heed::Error for shapes and options that do not fit. Time of dense
/// attention plus O(N^2 H Hb). The same bits for any number of threads. Source: Towards Generalizable Forgery Detection
/// and Reasoning 2025 (FakeReasoning), the authors' CrossAttention.
template <Real T>
struct ForgeryAwareFeatureFusion {
  struct Options {
    Index num_heads = 16;
    double eps = 1e-6;  ///< of both norms
    bool use_attn_bias = true;
  };

  Options options = {};
  Mlp<T> bias_mlp = {};
  ProjectedAttention<T> attention = {};
  Mlp<T> ffn = {};
  LayerNorm<T> norm1 = {}, norm2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "bias_mlp.", bias_mlp, "", attention, "ffn.", ffn, "norm1.", norm1, "norm2.", norm2);
  }

  template <Operand X, Operand Y, Operand M>
  auto operator()(const X& x, const Y& context, const M& attn_map) const {
    return (*this)(DeviceRef(), x, context, attn_map);
  }
  template <Device D, Operand X, Operand Y, Operand M>
  auto operator()(const D& device, const X& x, const Y& context, const M& attn_map) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3 && kOperandRank<M> == 4,
                  "heed::ForgeryAwareFeatureFusion: x and context are (B, N, C), attn_map (B, H, N + 1, N + 1)");
    const auto s = sizes_of(x);
    check(s, sizes_of(context), sizes_of(attn_map));
    const auto read = [&](const auto& attend) {
      return attention(device, attend, options.num_heads, x, context, context);
    };
    const auto steered = [&] {
      const auto map = parameter_with(attn_map, x, context);
      const auto inner = view(map).slice(2, 1, s[1]).slice(3, 1, s[1]).permute({0, 2, 3, 1});
      const auto logs = activate(device, Log{1e-6}, inner);
      const auto by_head = bias_mlp(device, Gelu(), logs);
      return read(softmax_attention(bias(view(by_head).permute({0, 3, 1, 2}))));
    };
    const auto mixed = options.use_attn_bias ? steered() : read(softmax_attention());
    const auto z = layer_norm(device, add(device, x, mixed), norm1.weight, norm1.bias, options.eps);
    return layer_norm(device, add(device, z, ffn(device, Relu(), z)), norm2.weight, norm2.bias, options.eps);
  }

 private:
  static constexpr std::string_view kName = "forgery_aware_feature_fusion";

  void check(const std::array<Index, 3>& x, const std::array<Index, 3>& context,
             const std::array<Index, 4>& map) const {
    require(context[0] == x[0] && context[1] == x[1], kName, "context must have shape (B, N, C) = ", shape_text(x),
            ", got ", shape_text(context));
    attention.check(kName, "", x[2], context[2], options.num_heads);
    check_mlp(kName, "ffn", ffn, x[2], x[2]);
    if (!options.use_attn_bias) return;
    require_shape(kName, "attn_map", map, std::array<Index, 4>{x[0], options.num_heads, x[1] + 1, x[1] + 1});
    check_mlp(kName, "bias_mlp", bias_mlp, options.num_heads, options.num_heads);
  }
};

}  // namespace heed::inline HEED_ISA
