// SPDX-License-Identifier: Apache-2.0
// resampler_attention: latents read the input and themselves under one softmax.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/linear_concat.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(softmax(q(b) [k(a) ; k(b)]^T / sqrt(D)) [v(a) ; v(b)])), a = norm_x(x), b = norm_latents(latents).
///
///   heed::ResamplerAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x, latents);                            // or attend(device, x, latents)
///
/// x (B, M, C), M from 0, latents and out (B, L, C); q.weight, k.weight, v.weight (I, C), out.weight (C, I), no bias;
/// num_heads divides I. Keys and values of both sources are written one behind the other where the attention reads
/// them. Throws heed::Error for shapes that do not fit. O(B L (M + L) I) for the attention. The same bits for any
/// number of threads. Source: Alayrac et al. 2022 (Flamingo), section 2.1.
template <Real T>
struct ResamplerAttention {
  struct Options {
    Index num_heads = 8;
    double eps = 1e-5;
  };

  Options options = {};
  LayerNorm<T> norm_x = {}, norm_latents = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "norm_x.", norm_x, "norm_latents.", norm_latents);
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    f("v.weight", v.weight);
    f("out.weight", out.weight);
  }

  template <Operand X, Operand Z>
  auto operator()(const X& x, const Z& latents) const {
    return (*this)(DeviceRef(), x, latents);
  }
  template <Device D, Operand X, Operand Z>
  auto operator()(const D& device, const X& x, const Z& latents) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Z> == 3,
                  "heed::ResamplerAttention: x is (B, M, C), latents are (B, L, C)");
    return with(options, device, x, latents);
  }
  /// The same with other options: those of the stack that it is a layer of.
  template <Device D, Operand X, Operand Z>
  auto with(const Options& options, const D& device, const X& x, const Z& latents) const {
    const auto a = layer_norm(device, x, norm_x.weight, norm_x.bias, options.eps);
    const auto b = layer_norm(device, latents, norm_latents.weight, norm_latents.bias, options.eps);
    const auto keys = linear_concat(device, k, a, k, b);
    const auto values = linear_concat(device, v, a, v, b);
    return out(device, attend_heads(device, softmax_attention(), options.num_heads, q(device, b), keys, values));
  }
};

}  // namespace heed::inline HEED_ISA
