// SPDX-License-Identifier: Apache-2.0
// switchhead_attention: few heads, whose value and output projections are mixtures of experts.
#pragma once

#include <cmath>

#include "heed/attention/heads.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/chosen_mask.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/rotary.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// Causal rotary attention with a gate sigmoid(router_{h, e} . x_n) for each head and expert, kept for the top_k
/// experts of each token and head:
///
///   v_{n, h} = sum over e of gate_v x_n V_{h, e},  z = softmax(q k^T / sqrt(D)) v,
///   out_n = sum over h and e of gate_out z_{n, h} O_{h, e}
///
///   heed::SwitchHeadAttention<float> attend{{.num_heads = 2, .num_experts = 4, .head_dim = 64}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x; q.weight and k.weight (H D, C). E > 1: v.weight (H E, C, D), out.weight (H E, D, C), which
/// multiply from the right, v_router.weight and out_router.weight (H E, C), expert h E + e. E = 1: v.weight (H D, C),
/// out.weight (C, H D), out_router.weight (H, C), the value not gated. No biases. The rotation is of the first
/// floor(rotate_fraction D) channels, an even number. top_k is clamped to E, ties go to the lower expert; the choice
/// has no gradient. Throws heed::Error for shapes and options that do not fit. Time O(B N^2 H D) for the attention, H
/// maps in place of H E, and O(B N C H E D) for the projections: all experts are computed in one product each. Source:
/// Csordas et al., NeurIPS 2024, SwitchHead; the authors' SwitchHeadRope.
template <Real T>
struct SwitchHeadAttention {
  struct Options {
    Index num_heads = 2;
    Index num_experts = 4;  ///< E, 1 or more
    Index head_dim = 64;
    Index top_k = 2;               ///< experts per token and head, 1 or more
    double rotate_fraction = 0.5;  ///< 0 to 1
    double rope_base = 10000;
  };

  Options options = {};
  Linear<T> q = {}, k = {};                       ///< no biases
  Tensor<T, 3> v_experts = {}, out_experts = {};  ///< v.weight and out.weight for E > 1
  Linear<T> v = {}, out = {};                     ///< v.weight and out.weight for E = 1
  Tensor<T, 2> v_router = {}, out_router = {};    ///< v_router only for E > 1

  template <class F>
  void for_each_parameter(F&& f) {
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    if (options.num_experts > 1) {
      f("v.weight", v_experts);
      f("out.weight", out_experts);
      f("v_router.weight", v_router);
    } else {
      f("v.weight", v.weight);
      f("out.weight", out.weight);
    }
    f("out_router.weight", out_router);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::SwitchHeadAttention: x is (B, N, C)");
    const Index heads = options.num_heads, width = options.head_dim, batch = sizes_of(x)[0], tokens = sizes_of(x)[1];
    check(sizes_of(x)[2]);
    Tensor<std::int32_t, 2> positions(1, tokens);
    for (Index i = 0; i < tokens; ++i) positions(0, i) = std::int32_t(i);
    const auto q_flat = q(device, x);
    const auto k_flat = k(device, x);
    const auto rotated = [&](const auto& flat) {
      const auto split = split_heads(flat, heads);
      const Index channels = rotated_channels();
      return channels == 0 ? contiguous(device, split)
                           : rotate(device, split, const_view(positions),
                                    {.rotary_dim = channels, .base = options.rope_base}, kName);
    };
    const auto q_heads = rotated(q_flat);
    const auto k_heads = rotated(k_flat);
    const auto attend = [&](const auto& values) {
      return attend_heads(device, softmax_attention(causal()), q_heads, k_heads, values);
    };
    if (options.num_experts == 1) {
      const auto values = v(device, x);
      const auto z = attend(split_heads(values, heads));
      const auto gates = sigmoid(device, linear(device, x, out_router, none()));
      const auto gated = multiply(device, view(z).split(2, width), view(gates).split(2, 1));
      return out(device, view(gated).merge(2));
    }
    // All experts of a value in one product, (H E, B N, D), then those that are used summed up.
    const Index experts = options.num_experts;
    const auto rows = contiguous(device, x);
    const auto all = matmul(device, view(rows).merge(0).template promote<3>(), parameter_with(v_experts, x));
    const auto by_token = view(all).split(0, experts).permute({2, 0, 1, 3});  // (B N, H, E, D)
    const auto gates = used_experts(device, x, v_router);
    const auto kept = multiply(device, by_token, view(gates).merge(0).split(2, 1));
    const auto values = sum(device, kept, {2});
    const auto z = attend(view(values).select(2, 0).split(0, tokens).permute({0, 2, 1, 3}));
    // The gates before the product, so that the sum over heads, experts and channels is one.
    const auto out_gates = used_experts(device, x, out_router);
    const auto z_heads = view(z).merge(0).split(1, width).split(1, 1);  // (B N, H, 1, D)
    const auto gated = multiply(device, z_heads, view(out_gates).merge(0).split(2, 1));
    const auto flat = view(gated).merge(1).merge(1);  // (B N, H E D)
    const auto weight = parameter_with(out_experts, x).merge(0);
    const auto mixed = matmul(device, flat, weight);
    return contiguous(device, view(mixed).split(0, tokens > 0 ? tokens : 1).slice(0, 0, batch));
  }

 private:
  static constexpr std::string_view kName = "switchhead_attention";

  static Tensor<T, 1> none() { return {}; }
  Index rotated_channels() const { return Index(std::floor(options.rotate_fraction * double(options.head_dim))); }

  // (B, N, H, E), 0 where the expert is not among the largest.
  template <class D, class X>
  auto used_experts(const D& device, const X& x, const Tensor<T, 2>& router) const {
    const auto gates = sigmoid(device, linear(device, x, router, none()));
    const auto by_head = view(gates).split(2, options.num_experts);
    const auto best = top_k(device, by_head, std::min(options.top_k, options.num_experts));
    return multiply(device, by_head, constant_with(chosen_mask<T>(best.indices, options.num_experts), x));
  }

  void check(Index channels) const {
    const Index heads = options.num_heads, experts = options.num_experts, width = options.head_dim;
    require(heads > 0 && experts > 0 && width > 0 && options.top_k > 0, kName,
            "num_heads, num_experts, head_dim and top_k must be 1 or more, got ", heads, ", ", experts, ", ", width,
            " and ", options.top_k);
    require(options.rotate_fraction >= 0 && options.rotate_fraction <= 1 && rotated_channels() % 2 == 0, kName,
            "rotate_fraction must be 0 to 1 and floor(rotate_fraction head_dim) even, got ", options.rotate_fraction,
            " of ", width);
    check_linear(kName, "q", q, channels, heads * width);
    check_linear(kName, "k", k, channels, heads * width);
    const auto has = [&](std::string_view name, const auto& tensor, const auto& sizes) {
      require_shape(kName, name, const_view(tensor).sizes, sizes);
    };
    has("out_router.weight", out_router, std::array<Index, 2>{heads * experts, channels});
    if (experts > 1) {
      has("v.weight", v_experts, std::array<Index, 3>{heads * experts, channels, width});
      has("out.weight", out_experts, std::array<Index, 3>{heads * experts, width, channels});
      has("v_router.weight", v_router, std::array<Index, 2>{heads * experts, channels});
    } else {
      check_linear(kName, "v", v, channels, heads * width);
      check_linear(kName, "out", out, heads * width, channels);
    }
  }
};

}  // namespace heed::inline HEED_ISA
