// SPDX-License-Identifier: Apache-2.0
// bidirectional_cross_attention: latents and tokens exchange information by one set of scores.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// s = heads(latent.r(latents)) heads(token.r(tokens))^T / sqrt(D); latents_out = latent.out(join(softmax of s over the
/// tokens, times token.v(tokens))), tokens_out = token.out(join(softmax of s over the latents, times
/// latent.v(latents))).
///
///   heed::BidirectionalCrossAttention<float> attend{{.num_heads = 6}};
///   auto [latents_out, tokens_out] = attend(latents, tokens);
///
/// latents (B, L, Cl), tokens (B, N, Cx), outputs in their shapes, before residuals; latent.{r, v}: Cl to I, token.{r,
/// v}: Cx to I, biases optional, latent.out: I to Cl, token.out: I to Cx. Four projections where two cross-attentions
/// have six. The scores are formed in each direction by the fused kernel, tile by tile: that takes less time than an L
/// x N matrix takes to write and read, and no memory. Throws heed::Error for shapes that do not fit. O(B L N I). The
/// same bits for any number of threads. Source: Hiller et al. 2024 (BiXT), eq. 1-3.
template <Real T>
struct BidirectionalCrossAttention {
  struct Options {
    Index num_heads = 1;
  };
  template <class Out>
  struct Result {
    Out latents_out, tokens_out;
  };
  struct Side {
    Linear<T> r = {}, v = {}, out = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "r.", r, "v.", v, "out.", out);
    }
  };

  Options options = {};
  Side latent = {}, token = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "latent.", latent, "token.", token);
  }

  template <Operand Z, Operand X>
  auto operator()(const Z& latents, const X& tokens) const {
    return (*this)(DeviceRef(), latents, tokens);
  }
  template <Device D, Operand Z, Operand X>
  auto operator()(const D& device, const Z& latents, const X& tokens) const {
    static_assert(kOperandRank<Z> == 3 && kOperandRank<X> == 3,
                  "heed::BidirectionalCrossAttention: latents are (B, L, Cl), tokens (B, N, Cx)");
    const Index heads = options.num_heads;
    const auto attend = softmax_attention();
    const auto latent_r = latent.r(device, latents);
    const auto token_r = token.r(device, tokens);
    const auto to_latents = attend_heads(device, attend, heads, latent_r, token_r, token.v(device, tokens));
    const auto to_tokens = attend_heads(device, attend, heads, token_r, latent_r, latent.v(device, latents));
    auto latents_out = latent.out(device, to_latents);
    auto tokens_out = token.out(device, to_tokens);
    return Result<decltype(latents_out)>{std::move(latents_out), std::move(tokens_out)};
  }
};

}  // namespace heed::inline HEED_ISA
