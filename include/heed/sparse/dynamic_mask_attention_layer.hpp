// SPDX-License-Identifier: Apache-2.0
// dynamic_mask_attention_layer: dynamic mask attention whose bias comes from the values.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/rotary.hpp"
#include "heed/sparse/dynamic_mask_attention.hpp"

namespace heed::inline HEED_ISA {

/// What the gate of the values becomes a bias by.
enum class DynamicBias {
  kLinear,  ///< itself: the authors' current code
  kExp      ///< its exponential: the paper and early code
};

/// Causal attention to the window_size keys of largest bias, bias_j = A softplus(v_j dt.weight^T + dt.bias) for every
/// query, or its exponential.
///
///   heed::DynamicMaskAttentionLayer<float> attend{{.num_heads = 8, .num_kv_heads = 4, .head_dim = 64}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x; q.weight (H D, C), k.weight and v.weight (Hk D, C), out.weight (C, H D), biases or none;
/// q_norm.weight and k_norm.weight (D), RMS norms with eps 1e-6 before the rotation; A (Hk), dt.weight (Hk, Hk D),
/// dt.bias (Hk) or empty, of the values of all heads of a token. A and dt have their gradient through the added bias
/// only. Scores / sqrt(D). Throws heed::Error for shapes and options that do not fit. Time as DynamicMaskAttention and
/// O(B N C H D). Source: Shi et al. 2025, Trainable Dynamic Mask Sparse Attention; DogeAttention of the authors' code.
template <Real T>
struct DynamicMaskAttentionLayer {
  struct Options {
    Index num_heads = 8;
    Index num_kv_heads = 8;
    Index head_dim = 64;       ///< even
    Index window_size = 2048;  ///< 1 or more
    DynamicBias bias_form = DynamicBias::kLinear;
    double rope_base = 10000;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {}, dt = {};
  RmsNorm<T> q_norm = {}, k_norm = {};
  Tensor<T, 1> A = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "q_norm.", q_norm, "k_norm.", k_norm);
    f("A", A);
    visit_part("dt.", dt, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::DynamicMaskAttentionLayer: x is (B, N, C)");
    check(sizes_of(x)[2]);
    const Index tokens = sizes_of(x)[1], groups = options.num_kv_heads;
    Tensor<std::int32_t, 2> positions(1, tokens);
    for (Index i = 0; i < tokens; ++i) positions(0, i) = std::int32_t(i);
    const auto rotated = [&](const auto& flat, Index heads, const RmsNorm<T>& norm) {
      return rotate(device, norm(device, split_heads(flat, heads)), const_view(positions), {.base = options.rope_base},
                    kName);
    };
    const auto q_flat = q(device, x);
    const auto k_flat = k(device, x);
    const auto values = v(device, x);
    const auto queries = rotated(q_flat, options.num_heads, q_norm);
    const auto keys = rotated(k_flat, groups, k_norm);

    const auto steps = multiply(device, softplus(device, dt(device, values)), parameter_with(A, x));
    const auto biases = options.bias_form == DynamicBias::kExp ? exp(device, steps) : contiguous(device, steps);
    const auto by_key = view(biases).permute({0, 2, 1}).split(1, 1);  // (B, Hk, 1, N)
    const DynamicMaskAttention attend{{.window_size = options.window_size, .causal = true}};
    const auto mixed = attend(device, queries, keys, split_heads(values, groups), by_key);
    const auto channels = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(channels).merge(2));
  }

 private:
  static constexpr std::string_view kName = "dynamic_mask_attention_layer";

  void check(Index channels) const {
    const Index heads = options.num_heads, groups = options.num_kv_heads, width = options.head_dim;
    require(heads > 0 && groups > 0 && heads % groups == 0, kName, "num_heads = ", heads,
            " must be a multiple of num_kv_heads = ", groups);
    require(width > 0 && width % 2 == 0, kName, "head_dim must be even, got ", width);
    check_linear(kName, "q", q, channels, heads * width);
    check_linear(kName, "k", k, channels, groups * width);
    check_linear(kName, "v", v, channels, groups * width);
    check_linear(kName, "out", out, heads * width, channels);
    check_linear(kName, "dt", dt, groups * width, groups);
    require_shape(kName, "A", const_view(A).sizes, std::array<Index, 1>{groups});
  }
};

}  // namespace heed::inline HEED_ISA
