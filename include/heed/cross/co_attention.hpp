// SPDX-License-Identifier: Apache-2.0
// co_attention: each of two streams reads the other.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// visual_out = visual.norm(visual + visual.out(join(A(visual.q(visual), text.k(text), text.v(text))))), and text_out
/// with the streams exchanged; A is softmax attention with the scale 1 / sqrt(Cb / num_heads).
///
///   heed::CoAttention<float> attend{{.num_heads = 8}};
///   auto [visual_out, text_out] = attend(visual, text, {.text_mask = mask});
///
/// visual (B, N, Cv), text (B, M, Ct); visual_mask (B, N) and text_mask (B, M) uint8, 1 for keys that are read; outputs
/// in the shapes of the streams. Of each stream, c channels wide: q, k, v: c to Cb, out: Cb to c, norm (c). A row that
/// sees no key has attention 0. Throws heed::Error for shapes that do not fit. O(2 B N M Cb) for the attentions. The
/// same bits for any number of threads. Source: Lu et al. 2019 (ViLBERT), section 2.2.
template <Real T>
struct CoAttention {
  struct Options {
    Index num_heads = 8;
    double eps = 1e-12;
  };
  /// Masks must outlive the call, and of a recorded one the tape's recording.
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> visual_mask = std::nullopt;
    std::optional<View<const std::uint8_t, 2>> text_mask = std::nullopt;
  };
  template <class Out>
  struct Result {
    Out visual_out, text_out;
  };
  struct Stream {
    Linear<T> q = {}, k = {}, v = {}, out = {};
    LayerNorm<T> norm = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "norm.", norm);
    }
  };

  Options options = {};
  Stream visual = {}, text = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "visual.", visual, "text.", text);
  }

  template <Operand V, Operand X>
  auto operator()(const V& visual_tokens, const X& text_tokens, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), visual_tokens, text_tokens, inputs);
  }
  template <Device D, Operand V, Operand X>
  auto operator()(const D& device, const V& visual_tokens, const X& text_tokens, const Inputs& inputs = {}) const {
    static_assert(kOperandRank<V> == 3 && kOperandRank<X> == 3, "heed::CoAttention: both streams are (B, tokens, C)");
    auto visual_out = read(device, visual, visual_tokens, text, text_tokens, inputs.text_mask);
    auto text_out = read(device, text, text_tokens, visual, visual_tokens, inputs.visual_mask);
    return Result<decltype(visual_out)>{std::move(visual_out), std::move(text_out)};
  }

 private:
  template <class D, Operand X, Operand Y>
  auto read(const D& device, const Stream& own, const X& x, const Stream& other, const Y& y,
            const std::optional<View<const std::uint8_t, 2>>& mask) const {
    const auto attend = softmax_attention(optional_key_mask(mask));
    const auto mixed =
        attend_heads(device, attend, options.num_heads, own.q(device, x), other.k(device, y), other.v(device, y));
    const auto sum = add(device, x, own.out(device, mixed));
    return layer_norm(device, sum, own.norm.weight, own.norm.bias, options.eps);
  }
};

}  // namespace heed::inline HEED_ISA
