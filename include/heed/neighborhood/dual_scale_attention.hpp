// SPDX-License-Identifier: Apache-2.0
// dual_scale_attention: one encoder, run with a narrow and with a wide band of keys.
#pragma once

#include <vector>

#include "heed/attention/weights.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// out = sigmoid(Encoder(x, local_context) + Encoder(x, global_context)), the same layers in both. In Encoder(x, c) key
/// j is visible to query i when |i - j| <= c, and each layer is
///
///   x <- norm1(softmax(q k^T / sqrt(D)) v out.weight^T + out.bias + x)      x <- norm2(fc2(gelu(fc1(x))) + x)
///
///   heed::DualScaleAttention<float> encode{{.num_heads = 8}, 2};
///   auto [out, attention] = encode(x);                      // or encode(device, x)
///
/// x and out (B, N, C); attention (B, S, H, N, N): the weights of the local layers, then those of the global ones. For
/// layer l: `layer{l}.` and q, k, v, out: weight (C, C), bias (C); norm1, norm2: weight, bias (C); ffn.fc1: weight (F,
/// C), bias (F); ffn.fc2: weight (C, F), bias (C). With one scale only, out is that encoder's result without the
/// sigmoid; with neither, the encoder runs once and every key is visible.
///
/// The authors add -10000 to hidden scores; here a hidden key has weight 0. Throws heed::Error, before anything is
/// written, for shapes and options that do not fit. Time and memory O(N^2) for the weights that it returns. The same
/// bits for any number of threads.
/// Source: Zhang et al., AAAI 2025 (DSAML); the authors' TransformerMultiScaleAttention.
template <Real T>
struct DualScaleAttention {
  struct Options {
    Index num_heads = 1;
    Index local_context = 3;    ///< tokens on each side, 0 or more
    Index global_context = 30;  ///< likewise
    bool use_local = true;
    bool use_global = true;
    double eps = 1e-12;  ///< of the norms
  };
  struct Layer {
    Linear<T> q = {}, k = {}, v = {}, out = {};
    LayerNorm<T> norm1 = {}, norm2 = {};
    Linear<T> fc1 = {}, fc2 = {};  ///< ffn.fc1, ffn.fc2

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "norm1.", norm1, "ffn.fc1.", fc1);
      visit_parts(f, "ffn.fc2.", fc2, "norm2.", norm2);
    }
  };
  template <class Out, class Attention>
  struct Result {
    Out out;
    Attention attention;
  };

  Options options = {};
  std::vector<Layer> layer = {};

  DualScaleAttention() = default;
  DualScaleAttention(const Options& options, Index num_layers) : options(options), layer(std::size_t(num_layers)) {}

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t l = 0; l < layer.size(); ++l) visit_part("layer" + std::to_string(l) + ".", layer[l], f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::DualScaleAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const bool both = options.use_local && options.use_global;
    const Index layers = Index(layer.size()), maps = both ? 2 * layers : layers;
    auto attention = make_output<T, 5>(kName, {sizes[0], maps, options.num_heads, sizes[1], sizes[1]}, x);
    const Index first = options.use_local    ? options.local_context
                        : options.use_global ? options.global_context
                                             : sizes[1];
    auto out = encode(device, x, first, view(attention).slice(1, 0, layers));
    if (both) {
      const auto wide = encode(device, x, options.global_context, view(attention).slice(1, layers, layers));
      out = sigmoid(device, add(device, out, wide));
    }
    return Result<decltype(out), decltype(attention)>{std::move(out), std::move(attention)};
  }

 private:
  static constexpr std::string_view kName = "dual_scale_attention";

  template <class D, Operand X, class A>
  auto encode(const D& device, const X& x, Index context, const A& maps) const {
    auto y = contiguous(device, x);
    for (std::size_t l = 0; l < layer.size(); ++l) {
      const Layer& part = layer[l];
      const auto heads = [&](const auto& tokens) { return split_heads(tokens, options.num_heads); };
      const auto q = part.q(device, y), k = part.k(device, y), v = part.v(device, y);
      const auto weights = maps.select(1, Index(l));
      attention_weights(device, softmax_attention(window(context, context)), heads(q), heads(k), weights);
      const auto mixed = matmul(device, weights, heads(v));
      const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
      const auto first = normalize(device, part.norm1, add(device, part.out(device, view(tokens).merge(2)), y));
      const auto hidden = gelu(device, part.fc1(device, first));
      y = normalize(device, part.norm2, add(device, part.fc2(device, hidden), first));
    }
    return y;
  }

  template <class D, Operand X>
  auto normalize(const D& device, const LayerNorm<T>& norm, const X& x) const {
    return layer_norm(device, x, norm.weight, norm.bias, options.eps);
  }

  void check(const std::array<Index, 3>& x) const {
    const Options& o = options;
    require(o.num_heads > 0 && x[2] > 0 && x[2] % o.num_heads == 0, kName, "the channels of x, ", x[2],
            ", must be a multiple of num_heads, ", o.num_heads);
    require(o.local_context >= 0 && o.global_context >= 0 && o.eps >= 0, kName,
            "local_context, global_context and eps must be 0 or more, got ", o.local_context, ", ", o.global_context,
            " and ", o.eps);
    for (std::size_t l = 0; l < layer.size(); ++l) {
      const std::string prefix = "layer" + std::to_string(l) + ".";
      const Layer& part = layer[l];
      const Index hidden = part.fc1.weight.dimension(0);
      check_linears(kName, x[2], x[2], prefix + "q", part.q, prefix + "k", part.k, prefix + "v", part.v, prefix + "out",
                    part.out);
      check_linear(kName, prefix + "ffn.fc1", part.fc1, x[2], hidden);
      check_linear(kName, prefix + "ffn.fc2", part.fc2, hidden, x[2]);
    }
  }
};

}  // namespace heed::inline HEED_ISA
