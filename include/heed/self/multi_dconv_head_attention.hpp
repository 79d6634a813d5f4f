// SPDX-License-Identifier: Apache-2.0
// multi_dconv_head_attention: a short causal convolution on the queries, keys and values of every head.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/depthwise_1d.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// Multi-head attention of conv_q(q(x)), conv_k(k(x)) and conv_v(v(x)), with a causal depthwise convolution along the
/// tokens of every head: u'_n = bias + sum over c of weight[c] u_{n - (K - 1) + c}, tokens before the first being 0.
///
///   heed::MultiDconvHeadAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x. q, k, v and out: weight (C, C), bias (C) or empty. conv_q, conv_k and conv_v: weight (D, K)
/// and bias (D) or empty, D = C / num_heads, the same for all heads; with per_head_kernel weight (H, D, K) and bias (H,
/// D), in head_conv_q and so on, which go by the same names. K is the weight's own (3 in the paper). Causal: j <= i;
/// scale 1 / sqrt(D). Throws heed::Error for shapes and options that do not fit. Time of four products, of the
/// convolutions O(B N C K) and of softmax_attention. Source: So et al. 2021 (Primer), section 3.
template <Real T>
struct MultiDconvHeadAttention {
  struct Options {
    Index num_heads = 1;
    bool per_head_kernel = false;
    bool causal = true;
  };
  /// Filters of each head.
  struct HeadConv {
    Tensor<T, 3> weight = {};  ///< (H, D, K)
    Tensor<T, 2> bias = {};    ///< (H, D) or empty

    template <class F>
    void for_each_parameter(F&& f) {
      f("weight", weight);
      f("bias", bias, heed::optional);
    }
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  CausalDepthwise<T> conv_q = {}, conv_k = {}, conv_v = {};
  HeadConv head_conv_q = {}, head_conv_k = {}, head_conv_v = {};  ///< with per_head_kernel, in the place of those

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    if (options.per_head_kernel) {
      visit_parts(f, "conv_q.", head_conv_q, "conv_k.", head_conv_k, "conv_v.", head_conv_v);
    } else {
      visit_parts(f, "conv_q.", conv_q, "conv_k.", conv_k, "conv_v.", conv_v);
    }
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MultiDconvHeadAttention: x is (B, N, C)");
    check(sizes_of(x)[2]);
    const Index heads = options.num_heads;
    const auto queries = q(device, x);
    const auto keys = k(device, x);
    const auto values = v(device, x);
    if (options.per_head_kernel) {
      const auto by_head = [&](const auto& projected, const HeadConv& conv) {
        const auto weight = parameter_with(conv.weight, x);
        return depthwise_1d(device, projected, weight.merge(0), parameter_with(conv.bias, x).merge(0),
                            DepthwiseOptions::causal(conv.weight.dimension(2)));
      };
      const auto q_conv = by_head(queries, head_conv_q), k_conv = by_head(keys, head_conv_k);
      const auto v_conv = by_head(values, head_conv_v);
      return attend(device, split_heads(q_conv, heads), split_heads(k_conv, heads), split_heads(v_conv, heads));
    }
    const auto q_conv = conv_q(device, split_heads(queries, heads)), k_conv = conv_k(device, split_heads(keys, heads));
    const auto v_conv = conv_v(device, split_heads(values, heads));
    return attend(device, view(q_conv), view(k_conv), view(v_conv));
  }

 private:
  static constexpr std::string_view kName = "multi_dconv_head_attention";

  template <class D, class X>
  auto attend(const D& device, const X& queries, const X& keys, const X& values) const {
    const auto causal_or_not = softmax_attention(when(options.causal, causal()));
    return out(device, attend_heads(device, causal_or_not, queries, keys, values));
  }

  void check(Index channels) const {
    const Index heads = options.num_heads;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v, "out", out);
    const Index width = channels / heads;
    const auto check_conv = [&](std::string_view name, const CausalDepthwise<T>& shared, const HeadConv& by_head) {
      if (!options.per_head_kernel) return check_depthwise(kName, name, shared, width);
      const auto weight = const_view(by_head.weight).sizes;
      const auto bias = const_view(by_head.bias).sizes;
      require(weight[0] == heads && weight[1] == width && weight[2] > 0, kName, name,
              ".weight must have shape (H, D, K) = (", heads, ", ", width, ", K), got ", shape_text(weight));
      require(by_head.bias.size() == 0 || (bias[0] == heads && bias[1] == width), kName, name,
              ".bias must be empty or have shape (", heads, ", ", width, "), got ", shape_text(bias));
    };
    check_conv("conv_q", conv_q, head_conv_q);
    check_conv("conv_k", conv_k, head_conv_k);
    check_conv("conv_v", conv_v, head_conv_v);
  }
};

}  // namespace heed::inline HEED_ISA
