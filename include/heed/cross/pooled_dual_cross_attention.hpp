// SPDX-License-Identifier: Apache-2.0
// pooled_dual_cross_attention: pooled visual tokens and text, each reading all visual tokens through its own gate.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/residual.hpp"
#include "heed/cross/key_value_projection.hpp"

namespace heed::inline HEED_ISA {

/// out[:Lv] = h + tanh(v2v.gate) join(A(v2v.q(h), v2v.k(visual), v2v.v(visual))) with h = hidden[:Lv], and out[Lv:]
/// likewise of hidden[Lv:] by t2v; softmax attention A of scale 1 / sqrt(D). There is no output projection.
///
///   heed::PooledDualCrossAttention<float> attend{{.num_heads = 8, .num_visual = 9}};
///   auto y = attend(hidden, visual);                        // or attend(device, hidden, visual)
///
/// hidden and out (B, Lv + Lt, C), pooled visual tokens first; visual (B, M, C), all of them; q, k, v of v2v and t2v: C
/// to C, no bias; gates (1). num_visual = Lv is 0 .. Lv + Lt; an empty part has gradient 0. Throws heed::Error for
/// shapes and options that do not fit. O(B (Lv + Lt) M C). The same bits for any number of threads.
/// Source: Yan et al. 2025 (CrossLMM), eq. 5-10; transcription, with the tanh of its figure 3.
template <Real T>
struct PooledDualCrossAttention {
  struct Options {
    Index num_heads = 1;
    Index num_visual = 0;
  };
  struct Part {
    Linear<T> q = {};
    KeyValueProjection<T> source = {};
    Tensor<T, 1> gate = {};  ///< (1)

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "", source);
      f("gate", gate);
    }
  };

  Options options = {};
  Part v2v = {}, t2v = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "v2v.", v2v, "t2v.", t2v);
  }

  template <Operand X, Operand V>
  auto operator()(const X& hidden, const V& visual) const {
    return (*this)(DeviceRef(), hidden, visual);
  }
  template <Device D, Operand X, Operand V>
  auto operator()(const D& device, const X& hidden, const V& visual) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<V> == 3,
                  "heed::PooledDualCrossAttention: hidden and visual are (B, tokens, C)");
    const Index tokens = sizes_of(hidden)[1], first = options.num_visual;
    require(first >= 0 && first <= tokens, kName, "num_visual must be in 0 .. ", tokens, ", the tokens of hidden, got ",
            first);
    const auto pooled = view(hidden).slice(1, 0, first);
    const auto text = view(hidden).slice(1, first, tokens - first);
    return concat<1>(device, read(device, v2v, pooled, visual), read(device, t2v, text, visual));
  }

 private:
  static constexpr std::string_view kName = "pooled_dual_cross_attention";

  template <class D, Operand X, Operand V>
  auto read(const D& device, const Part& part, const X& x, const V& visual) const {
    require(part.gate.size() == 1, kName, "v2v.gate and t2v.gate must have shape (1), got (", part.gate.size(), ")");
    const auto mixed = part.source.read(device, options.num_heads, part.q(device, x), visual);
    return add_product(device, x, tanh(device, parameter_with(part.gate, x, visual)), mixed);
  }
};

}  // namespace heed::inline HEED_ISA
