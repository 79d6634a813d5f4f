// SPDX-License-Identifier: Apache-2.0
// dual_input_perceiver: latents that read one input, attend to themselves, read the other, attend to themselves.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// From l = 0, for s in rule, stim: c = s.norm(s(l, input)), c = relu(s.ffn(c)) + c, l = latent.norm(c + l), l =
/// latent.norm(l + latent(l, l)); out = relu(latent.ffn(l)). One latent attention and one latent norm serve all four
/// uses.
///
///   heed::DualInputPerceiver<float> read{{.num_heads = 4}};
///   auto y = read(rule, stim);                              // or read(device, rule, stim)
///
/// rule (B, Nr, E), stim (B, Ns, E), out (B, num_latents, F). rule.q, stim.q F to F, their k and v E to F, their out F
/// to F, latent.q, .k, .v, .out and the three ffn F to F, biases optional; rule.norm, stim.norm, latent.norm (F). The
/// latents start equal, so they stay equal. Throws heed::Error for shapes and options that do not fit. Time O(L (Nr +
/// Ns + L) F). The same bits for any number of threads. Source: Ito et al. 2024 (gCOG), the authors' Perceiver.
template <Real T>
struct DualInputPerceiver {
  struct Options {
    Index num_heads = 1;
    Index num_latents = 10;
  };
  struct Part {
    ProjectedAttention<T> attention = {};
    Linear<T> ffn = {};
    LayerNorm<T> norm = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "", attention, "ffn.", ffn, "norm.", norm);
    }
  };

  Options options = {};
  Part rule = {}, stim = {}, latent = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "rule.", rule, "stim.", stim, "latent.", latent);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& rules, const Y& stims) const {
    return (*this)(DeviceRef(), rules, stims);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& rules, const Y& stims) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::DualInputPerceiver: rule and stim are (B, tokens, E)");
    const Index batch = sizes_of(rules)[0], width = latent.attention.q.weight.dimension(0);
    require(sizes_of(stims)[0] == batch, kName, "stim must have shape (B, Ns, E) with B = ", batch, ", got ",
            shape_text(sizes_of(stims)));
    require(options.num_latents > 0, kName, "num_latents must be 1 or more, got ", options.num_latents);
    check("rule.", rule, width, sizes_of(rules)[2]);
    check("stim.", stim, width, sizes_of(stims)[2]);
    check("latent.", latent, width, width);

    Tensor<T, 3> zero(batch, options.num_latents, width);
    zero.setZero();
    const auto attend = [&](const Part& part, const auto& queries, const auto& keys) {
      return part.attention(device, softmax_attention(), options.num_heads, queries, keys, keys);
    };
    const auto visit = [&](const Part& part, const auto& latents, const auto& source) {
      const auto read = part.norm(device, attend(part, latents, source));
      const auto fed = add(device, relu(device, part.ffn(device, read)), read);
      const auto joined = latent.norm(device, add(device, fed, latents));
      return latent.norm(device, add(device, joined, attend(latent, joined, joined)));
    };
    const auto start = constant_with(std::move(zero), rules, stims);
    const auto informed = visit(rule, start, parameter_with(rules, stims));
    const auto latents = visit(stim, informed, parameter_with(stims, rules));
    return relu(device, latent.ffn(device, latents));
  }

 private:
  static constexpr std::string_view kName = "dual_input_perceiver";

  void check(const std::string& prefix, const Part& part, Index width, Index key_width) const {
    part.attention.check(kName, prefix, width, key_width, options.num_heads);
    check_linear(kName, prefix + "ffn", part.ffn, width, width);
  }
};

}  // namespace heed::inline HEED_ISA
