// SPDX-License-Identifier: Apache-2.0
// composite_attention: causal attention in which visual tokens are read, but do not read each other.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/linear_concat.hpp"

namespace heed::inline HEED_ISA {

/// What becomes of the visual tokens in the layer.
enum class VisualUpdate {
  kValueOutput,  ///< out(v(visual)): each attends to itself alone
  kNone,         ///< 0: only the residual and the network change them
};

/// text_out = out(join(A(q(text), k(X), v(X)))), X = [visual ; text]: text token i reads every visual token and the
/// text up to itself. visual_out = out(v(visual)) or 0. Both before the residual; positions are the caller's.
///
///   heed::CompositeAttention<float> attend{{.num_heads = 32}};
///   auto [visual_out, text_out] = attend(visual, text);     // or attend(device, visual, text)
///
/// visual (B, Nv, C), text (B, Nt, C), both normed, Nv and Nt from 0; q, k, v, out: C to C, biases optional: the
/// layer's own, for both kinds of token. Keys and values of both are written one behind the other where the attention
/// reads them. Equal to masked self-attention over X whose visual tokens see themselves alone. Throws heed::Error for
/// shapes that do not fit. O(B Nt (Nv + Nt) C) for the attention. The same bits for any number of threads. Source: Ma
/// et al. 2024 (EE-MLLM), section 3.2; transcription, where kValueOutput is our reading.
template <Real T>
struct CompositeAttention {
  struct Options {
    Index num_heads = 1;
    VisualUpdate visual_update = VisualUpdate::kValueOutput;
  };
  template <class Out>
  struct Result {
    Out visual_out, text_out;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Operand V, Operand X>
  auto operator()(const V& visual, const X& text) const {
    return (*this)(DeviceRef(), visual, text);
  }
  template <Device D, Operand V, Operand X>
  auto operator()(const D& device, const V& visual, const X& text) const {
    const auto keys = linear_concat(device, k, visual, k, text);
    const auto values = linear_concat(device, v, visual, v, text);
    const auto attend = softmax_attention(causal());
    auto text_out = out(device, attend_heads(device, attend, options.num_heads, q(device, text), keys, values));
    const Index seen = sizes_of(visual)[1];
    auto visual_out =
        make_output<T, 3>("composite_attention", {sizes_of(visual)[0], seen, out.weight.dimension(0)}, visual, text);
    if (options.visual_update == VisualUpdate::kValueOutput) {
      out(device, view(values).slice(1, 0, seen), view(visual_out));
    } else {
      fill(device, visual_out, 0);
    }
    return Result<decltype(text_out)>{std::move(visual_out), std::move(text_out)};
  }
};

}  // namespace heed::inline HEED_ISA
