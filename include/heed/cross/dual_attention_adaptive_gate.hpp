// SPDX-License-Identifier: Apache-2.0
// dual_attention_adaptive_gate: timbre and style, read by the same queries, the style through a gate.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/residual.hpp"
#include "heed/cross/key_value_projection.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(A(Q, timbre.k(timbre), timbre.v(timbre)) + tanh(gate) A(Q, style.k(style), style.v(style)))), Q =
/// q(x), with softmax attention A of scale 1 / sqrt(D).
///
///   heed::DualAttentionAdaptiveGate<float> attend{{.num_heads = 8}};
///   auto y = attend(x, timbre, style);                      // or attend(device, x, timbre, style)
///
/// x and out (B, N, C), timbre (B, Mt, Ct), style (B, Ms, Cs); q: C to C, timbre.{k, v}: Ct to C, style.{k, v}: Cs to
/// C, out: C to C; gate (1), or (H) for each head, 0 at first: the output is then that of the timbre alone. Throws
/// heed::Error for shapes that do not fit. O(B N (Mt + Ms) C) for the attentions. The same bits for any number of
/// threads. Source: Yao et al. 2025 (StableVC); transcription, where it is our reading that the style carries the gate.
template <Real T>
struct DualAttentionAdaptiveGate {
  struct Options {
    Index num_heads = 1;
  };

  Options options = {};
  Linear<T> q = {}, out = {};
  KeyValueProjection<T> timbre = {}, style = {};
  Tensor<T, 1> gate = {};  ///< (1) or (H)

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "timbre.", timbre, "style.", style, "out.", out);
    f("gate", gate);
  }

  template <Operand X, Operand Y, Operand Z>
  auto operator()(const X& x, const Y& timbre_tokens, const Z& style_tokens) const {
    return (*this)(DeviceRef(), x, timbre_tokens, style_tokens);
  }
  template <Device D, Operand X, Operand Y, Operand Z>
  auto operator()(const D& device, const X& x, const Y& timbre_tokens, const Z& style_tokens) const {
    const Index heads = options.num_heads;
    require(gate.size() == 1 || gate.size() == heads, "dual_attention_adaptive_gate",
            "gate must have shape (1) or (H) = (", heads, "), got (", gate.size(), ")");
    const auto queries = q(device, x);
    const auto of_timbre = timbre.read(device, heads, queries, timbre_tokens);
    const auto of_style = style.read(device, heads, queries, style_tokens);
    const auto opening = tanh(device, parameter_with(gate, queries));
    const auto by_head = [&](const auto& tokens) { return view(tokens).split(2, sizes_of(tokens)[2] / heads); };
    const auto mixed = add_product(device, by_head(of_timbre), view(opening).split(0, 1), by_head(of_style));
    return out(device, view(mixed).merge(2));
  }
};

}  // namespace heed::inline HEED_ISA
