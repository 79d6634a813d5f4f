// SPDX-License-Identifier: Apache-2.0
// relative_convolutional_attention: relative positions, and a short causal convolution on each head.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/depthwise_1d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/relative_shift.hpp"

namespace heed::inline HEED_ISA {

/// Attention of z = [mem ; x] with s_ij = ((q_i + content.bias) . k_j + q_i . key[j - p_i] + bias[j - p_i]) / sqrt(D),
/// where q, k and v are convolved projections and key and bias are learned for each distance.
///
///   heed::RelativeConvolutionalAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x, mem)
///
/// x (B, N, C); mem (B, Lm, C), states of the segment before, or left out; out (B, N, C); p_i = i + Lm. q of x, k and v
/// of z: q.weight, k.weight, v.weight, out.weight (C, C), v.bias and out.bias (C); q and k may have a bias too. conv_q,
/// conv_k and conv_v are causal depthwise convolutions, weight (D, K) and bias (D), the same for all heads, each along
/// its own sequence from its first token on: queries do not see mem. rel_key_table (2 P, H, D) and rel_bias_table (2 P,
/// H) have row P + j - p_i for a distance, content.bias is (H, D), D = C / num_heads. P is that of the tables (the
/// authors': 4096), K that of the filters (3).
///
/// Needs Lm + N <= P and, if not causal, N <= P. Throws heed::Error for that and for shapes and options that do not
/// fit. Without convolution and tables it is multi-head attention; with the convolution alone MultiDconvHeadAttention.
/// Time of four products, of softmax_attention and of the relative scores, O(B N (Lm + N) C); memory B H N (Lm + N) for
/// those. Source: Sugiharto et al. 2023 (RCMHA), the class RelativeMultiHeadAttention of the authors' code.
template <Real T>
struct RelativeConvolutionalAttention {
  struct Options {
    Index num_heads = 8;
    bool causal = true;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  CausalDepthwise<T> conv_q = {}, conv_k = {}, conv_v = {};
  Tensor<T, 3> rel_key_table = {};   ///< (2 P, H, D)
  Tensor<T, 2> rel_bias_table = {};  ///< (2 P, H)
  Tensor<T, 2> content_bias = {};    ///< content.bias, (H, D)

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "conv_q.", conv_q, "conv_k.", conv_k, "conv_v.", conv_v);
    f("rel_key_table", rel_key_table);
    f("rel_bias_table", rel_bias_table);
    f("content.bias", content_bias);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Operand X, Operand Z>
  auto operator()(const X& x, const Z& mem) const {
    return (*this)(DeviceRef(), x, mem);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return run(device, view(x), view(x));
  }
  template <Device D, Operand X, Operand Z>
  auto operator()(const D& device, const X& x_like, const Z& mem) const {
    check_memory(kName, sizes_of(x_like), sizes_of(mem));
    const auto x = parameter_with(x_like, mem);
    const auto z = concat<1>(device, mem, x);
    return run(device, x, view(z));
  }

 private:
  static constexpr std::string_view kName = "relative_convolutional_attention";

  template <class D, class X, class Z>
  auto run(const D& device, const X& x, const Z& z) const {
    static_assert(kOperandRank<X> == 3, "heed::RelativeConvolutionalAttention: x is (B, N, C)");
    const Index queries = sizes_of(x)[1], keys = sizes_of(z)[1], heads = options.num_heads;
    check(sizes_of(x)[2], queries, keys);
    const Index width = sizes_of(x)[2] / heads;
    const auto q_flat = q(device, x);
    const auto k_flat = k(device, z);
    const auto v_flat = v(device, z);
    const auto q_heads = conv_q(device, split_heads(q_flat, heads));
    const auto k_heads = conv_k(device, split_heads(k_flat, heads));
    const auto v_heads = conv_v(device, split_heads(v_flat, heads));

    // Of all distances that a visible pair can have, and of -M before them: see relative_shift.
    const Index columns = keys + (options.causal ? 1 : queries), first = rel_bias_table.dimension(0) / 2 - keys;
    const auto key_rows =
        parameter_with(rel_key_table, x).slice(0, first, columns).permute({1, 2, 0}).template promote<4>();
    const auto bias_rows =
        parameter_with(rel_bias_table, x).slice(0, first, columns).permute({1, 0}).split(0, 1).template promote<4>();
    const auto relative = add(device, matmul(device, q_heads, key_rows), bias_rows);
    const auto q_content = add(device, q_heads, view(content_bias).split(0, 1).template promote<4>());
    const auto attend = softmax_attention(bias(relative_shift(relative, keys)) | scale_by(1 / std::sqrt(double(width))),
                                          when(options.causal, causal()), {.scale = 1});
    return out(device, attend_heads(device, attend, q_content, k_heads, v_heads));
  }

  void check(Index channels, Index queries, Index keys) const {
    const Index heads = options.num_heads;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    const Index width = channels / heads, rows = rel_bias_table.dimension(0);
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v, "out", out);
    check_depthwise(kName, "conv_q", conv_q, width);
    check_depthwise(kName, "conv_k", conv_k, width);
    check_depthwise(kName, "conv_v", conv_v, width);
    require(rows % 2 == 0 && rel_bias_table.dimension(1) == heads, kName,
            "rel_bias_table must have shape (2 P, H) with H = ", heads, ", got ",
            shape_text(const_view(rel_bias_table).sizes));
    require_shape(kName, "rel_key_table", const_view(rel_key_table).sizes, std::array<Index, 3>{rows, heads, width});
    require_shape(kName, "content.bias", const_view(content_bias).sizes, std::array<Index, 2>{heads, width});
    require(keys <= rows / 2 && (options.causal || queries <= rows / 2), kName,
            "the tables have distances up to P = ", rows / 2, ", too few for ", keys, " tokens");
  }
};

}  // namespace heed::inline HEED_ISA
