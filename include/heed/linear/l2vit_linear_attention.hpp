// SPDX-License-Identifier: Apache-2.0
// l2vit_linear_attention: linear attention of rectified queries and keys with a floor under its normaliser.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/reduce.hpp"
#include "heed/scan/linear_attention.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x * factor / by.
struct ScaledQuotient {
  static constexpr std::string_view kName = "l2vit_linear_attention";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> factor, simd::Batch<T> by) const {
    return x * (factor / by);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> factor, simd::Batch<T> by) const {
    if constexpr (Operand == 0) {
      return d * (factor / by);
    } else if constexpr (Operand == 1) {
      return d * (x / by);
    } else {
      return -d * (x * (factor / (by * by)));
    }
  }
};

}  // namespace detail

/// out = (the heads o side by side) out.weight^T + out.bias, where for head h, with q and k behind a ReLU,
///
///   o_i = temperature_h (sum over j of (q_i . k_j) v_j) / max(q_i . sum over j of k_j, denom_min).
///
///   heed::L2vitLinearAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C); qkv.weight (3 C, C) with an optional bias: queries, keys, values; out.weight (C, C), out.bias
/// (C); temperature (num_heads), of sqrt(num_heads / C) at first. Not causal. Of small maps or activations the floor of
/// 100 acts, and the weights do not add up to the temperature; while it acts it passes no gradient to q and k.
///
/// Throws heed::Error for shapes and options that do not fit. Time O(B N C^2), linear in N; the same bits for any
/// number of threads. Source: Zheng 2025 (L2ViT), the class LinearAttention of the authors' code.
template <Real T>
struct L2vitLinearAttention {
  struct Options {
    Index num_heads = 1;
    double denom_min = 100;  ///< above 0
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};
  Tensor<T, 1> temperature = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkv.", qkv, "out.", out);
    f("temperature", temperature);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::L2vitLinearAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    const Index channels = sizes[2], heads = options.num_heads;
    check(channels);
    const auto packed = qkv(device, x);
    const auto qk = relu(device, view(packed).slice(2, 0, 2 * channels));
    const auto q = split_heads(view(qk).slice(2, 0, channels), heads);
    const auto k = split_heads(view(qk).slice(2, channels, channels), heads);
    const auto v = split_heads(view(packed).slice(2, 2 * channels, channels), heads);

    const auto keys = sum(device, k, {2});
    const auto weights = matmul(device, q, view(keys).permute({0, 1, 3, 2}));  // (B, H, N, 1)
    const auto least = activate(device, AtLeast{options.denom_min}, weights);
    auto mixed = make_output<T, 3>(kName, sizes, x);
    auto end = make_output<T, 4>(kName, {0, 0, 0, 0}, x);
    linear_attention(device, IdentityFeatures(), q, k, v, View<const T, 4>(), {.causal = false},
                     view(mixed).split(2, channels / heads).permute({0, 2, 1, 3}), end);
    const auto o = pointwise(detail::ScaledQuotient(), device, view(mixed).split(2, channels / heads),
                             view(temperature).split(0, 1), view(least).permute({0, 2, 1, 3}));
    return out(device, view(o).merge(2));
  }

 private:
  static constexpr std::string_view kName = "l2vit_linear_attention";

  void check(Index channels) const {
    require(options.num_heads > 0 && channels > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    require(options.denom_min > 0, kName, "denom_min must be above 0, got ", options.denom_min);
    check_linear(kName, "qkv", qkv, channels, 3 * channels);
    check_linear(kName, "out", out, channels, channels);
    require_shape(kName, "temperature", const_view(temperature).sizes, std::array<Index, 1>{options.num_heads});
  }
};

}  // namespace heed::inline HEED_ISA
