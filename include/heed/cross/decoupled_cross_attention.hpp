// SPDX-License-Identifier: Apache-2.0
// decoupled_cross_attention: text and image prompts, read in two attentions of the same queries.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/cross/key_value_projection.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(A(Q, text.k(text), text.v(text)) + image_scale A(Q, image.k(image), image.v(image)))), Q = q(x), with
/// softmax attention A of scale 1 / sqrt(D). The two softmaxes are never one.
///
///   heed::DecoupledCrossAttention<float> attend{{.num_heads = 8, .image_scale = 0.6}};
///   auto y = attend(x, text, image);                        // or attend(device, x, text, image)
///
/// x and out (B, N, C), text (B, M, Ct), image (B, Mi, Ct), M and Mi from 0; q: C to C, text.{k, v} and image.{k, v}:
/// Ct to C, no bias; out: C to C. An empty prompt adds nothing. Throws heed::Error for shapes that do not fit and a
/// scale that is not finite. O(B N (M + Mi) C) for the attentions. The same bits for any number of threads. Source: Ye
/// et al. 2023 (IP-Adapter), eq. 5.
template <Real T>
struct DecoupledCrossAttention {
  struct Options {
    Index num_heads = 1;
    double image_scale = 1;
  };

  Options options = {};
  Linear<T> q = {}, out = {};
  KeyValueProjection<T> text = {}, image = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "text.", text, "image.", image, "out.", out);
  }

  template <Operand X, Operand Y, Operand Z>
  auto operator()(const X& x, const Y& text_prompt, const Z& image_prompt) const {
    return (*this)(DeviceRef(), x, text_prompt, image_prompt);
  }
  template <Device D, Operand X, Operand Y, Operand Z>
  auto operator()(const D& device, const X& x, const Y& text_prompt, const Z& image_prompt) const {
    require(std::isfinite(options.image_scale), "decoupled_cross_attention", "image_scale must be finite, got ",
            options.image_scale);
    const auto queries = q(device, x);
    const auto of_text = text.read(device, options.num_heads, queries, text_prompt);
    const auto of_image = image.read(device, options.num_heads, queries, image_prompt);
    return out(device, add(device, of_text, scale(device, of_image, options.image_scale)));
  }
};

}  // namespace heed::inline HEED_ISA
