// SPDX-License-Identifier: Apache-2.0
// latent_chain_cross_attention: one latent reads the rule, then the stimulus.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// out = l of l = norm(l + attention_rule(l, rule)), l = norm(l + attention_stim(l, stim)), from l = 0: the first query
/// is rule.q.bias alone.
///
///   heed::LatentChainCrossAttention<float> read{{.num_heads = 4}};
///   auto y = read(rule, stim);                              // or read(device, rule, stim)
///
/// rule (B, Nr, E), stim (B, Ns, E), out (B, F). rule.q and stim.q F to F, rule.k, .v and stim.k, .v E to F, rule.out
/// and stim.out F to F, biases optional; norm (F), one for both steps. Throws heed::Error for shapes that do not fit.
/// Time O((Nr + Ns) F E). The same bits for any number of threads. Source: Ito et al. 2024 (gCOG), the authors'
/// TransformerCrossAttn.
template <Real T>
struct LatentChainCrossAttention {
  struct Options {
    Index num_heads = 1;
  };

  Options options = {};
  ProjectedAttention<T> rule = {}, stim = {};
  LayerNorm<T> norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "rule.", rule, "stim.", stim, "norm.", norm);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& rules, const Y& stims) const {
    return (*this)(DeviceRef(), rules, stims);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& rules, const Y& stims) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::LatentChainCrossAttention: rule and stim are (B, tokens, E)");
    const Index batch = sizes_of(rules)[0], width = rule.q.weight.dimension(0);
    require(sizes_of(stims)[0] == batch, kName, "stim must have shape (B, Ns, E) with B = ", batch, ", got ",
            shape_text(sizes_of(stims)));
    rule.check(kName, "rule.", width, sizes_of(rules)[2], options.num_heads);
    stim.check(kName, "stim.", width, sizes_of(stims)[2], options.num_heads);

    Tensor<T, 3> zero(batch, 1, width);
    zero.setZero();
    const auto start = constant_with(std::move(zero), rules, stims);
    const auto step = [&](const ProjectedAttention<T>& attention, const auto& latent, const auto& source) {
      const auto read = attention(device, softmax_attention(), options.num_heads, latent, source, source);
      return norm(device, add(device, latent, read));
    };
    const auto informed = step(rule, start, parameter_with(rules, stims));
    const auto latent = step(stim, informed, parameter_with(stims, rules));
    return contiguous(device, view(latent).select(1, 0));
  }

 private:
  static constexpr std::string_view kName = "latent_chain_cross_attention";
};

}  // namespace heed::inline HEED_ISA
