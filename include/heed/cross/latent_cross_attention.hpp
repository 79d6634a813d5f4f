// SPDX-License-Identifier: Apache-2.0
// latent_cross_attention: a few latents read a long input.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// out = latents + out(join(softmax(q k^T / sqrt(D)) v)), q = q(norm(latents)), k and v of norm_context(x).
///
///   heed::LatentCrossAttention<float> read{{.num_heads = 8}};
///   auto z = read(latents, x);                              // or read(device, latents, x, {.mask = mask})
///
/// latents (B, L, C), x (B, M, Cx), mask (B, M) uint8, 1 for keys that are read; out (B, L, C). q.weight (I, C),
/// k.weight and v.weight (I, Cx), no bias, out.weight (C, I) and out.bias; num_heads divides I. An item whose mask
/// hides all gives latents + out.bias. A hidden key never changes a result. Throws heed::Error for shapes that do not
/// fit. O(B L M I) for the attention, without an L x M buffer. The same bits for any number of threads. Source: Jaegle
/// et al. 2021 (Perceiver), section 3.1.
template <Real T>
struct LatentCrossAttention {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-5;
  };
  /// The mask must outlive the call, and of a recorded one the tape's recording.
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> mask = std::nullopt;
  };

  Options options = {};
  LayerNorm<T> norm = {}, norm_context = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "norm.", norm, "norm_context.", norm_context, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Operand Z, Operand X>
  auto operator()(const Z& latents, const X& x, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), latents, x, inputs);
  }
  template <Device D, Operand Z, Operand X>
  auto operator()(const D& device, const Z& latents, const X& x, const Inputs& inputs = {}) const {
    static_assert(kOperandRank<Z> == 3 && kOperandRank<X> == 3,
                  "heed::LatentCrossAttention: latents are (B, L, C), x is (B, M, Cx)");
    const auto query = layer_norm(device, latents, norm.weight, norm.bias, options.eps);
    const auto context = layer_norm(device, x, norm_context.weight, norm_context.bias, options.eps);
    const auto attend = softmax_attention(optional_key_mask(inputs.mask));
    const auto mixed =
        attend_heads(device, attend, options.num_heads, q(device, query), k(device, context), v(device, context));
    return add(device, latents, out(device, mixed));
  }
};

}  // namespace heed::inline HEED_ISA
