// SPDX-License-Identifier: Apache-2.0
// single_stream_fusion_block: two inputs as one sequence of padded features, through one transformer block.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/sinusoid.hpp"

namespace heed::inline HEED_ISA {

/// out = norm1(z + relu(mlp(z))) with z = norm0(e + attention(e, e)) and e the embedded sequence: a rule token r as
/// embed([r, 0]), a stimulus token s behind them as embed([0, s]), each plus its sinusoidal position code.
///
///   heed::SingleStreamFusionBlock<float> block{{.num_heads = 4}};
///   auto y = block(rule, stim);                             // or block(device, rule, stim)
///
/// rule (B, Nr, Fr), stim (B, Ns, Fs), out (B, Nr + Ns, C); embed.weight (C, Fr + Fs), q, k, v, out, mlp.fc1 and
/// mlp.fc2 C to C, biases optional; norm0, norm1 (C). The zeros are not multiplied: each input meets its columns of the
/// weight. mlp has a ReLU behind its second layer too. Throws heed::Error for shapes that do not fit. Time O((Nr +
/// Ns)^2 C). The same bits for any number of threads. Source: Ito et al. 2024 (gCOG), the authors' TransformerBlock.
template <Real T>
struct SingleStreamFusionBlock {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-5;  ///< of both norms
  };

  Options options = {};
  Linear<T> embed = {};
  ProjectedAttention<T> attention = {};
  LayerNorm<T> norm0 = {}, norm1 = {};
  Mlp<T> mlp = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "embed.", embed, "", attention, "norm0.", norm0, "norm1.", norm1, "mlp.", mlp);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& rule, const Y& stim) const {
    return (*this)(DeviceRef(), rule, stim);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& rule, const Y& stim) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::SingleStreamFusionBlock: rule and stim are (B, tokens, F)");
    const auto first = sizes_of(rule), second = sizes_of(stim);
    const Index channels = embed.weight.dimension(0), rules = first[1], tokens = rules + second[1];
    require(second[0] == first[0], kName, "stim must have shape (B, Ns, Fs) with B = ", first[0], ", got ",
            shape_text(second));
    check_linear(kName, "embed", embed, first[2] + second[2], channels);
    attention.check(kName, "", channels, channels, options.num_heads);
    check_mlp(kName, "mlp", mlp, channels, channels);

    auto sequence = make_output<OperandScalar<X>, 3>(kName, {first[0], tokens, channels}, rule, stim);
    const auto weight = parameter_with(embed.weight, rule, stim);
    linear(device, rule, weight.slice(1, 0, first[2]), embed.bias, view(sequence).slice(1, 0, rules));
    linear(device, stim, weight.slice(1, first[2], second[2]), embed.bias, view(sequence).slice(1, rules, second[1]));
    const auto positions = constant_with(sinusoidal_positions<T>(tokens, channels), rule, stim);
    const auto e = add(device, sequence, positions);
    const auto mixed = attention(device, softmax_attention(), options.num_heads, e, e, e);
    const auto z = layer_norm(device, add(device, e, mixed), norm0.weight, norm0.bias, options.eps);
    const auto fed = relu(device, mlp(device, Relu(), z));
    return layer_norm(device, add(device, z, fed), norm1.weight, norm1.bias, options.eps);
  }

 private:
  static constexpr std::string_view kName = "single_stream_fusion_block";
};

}  // namespace heed::inline HEED_ISA
