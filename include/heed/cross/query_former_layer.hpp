// SPDX-License-Identifier: Apache-2.0
// query_former_layer: learned queries and text share self-attention; only the queries read the image.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear_concat.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// z = self.norm(X + self(X, X)) of X = [query ; text]; the rows of the queries then read the image, z = cross.norm(z +
/// cross(z, image)); query_out = norm(z + fc2(gelu(fc1(z)))) by ffn_query, text_out likewise by ffn_text. self and
/// cross are multi-head attention.
///
///   heed::QueryFormerLayer<float> layer{{.num_heads = 12}};
///   auto [query_out, text_out] = layer(query, text, image, {.self_mask = mask});
///
/// query (B, Nq, C), text (B, Nt, C) with Nt from 0, image (B, M, Cv); self_mask (B, Nq + Nt) and image_mask (B, M)
/// uint8, 1 for keys that are read. Outputs in the shapes of query and text. self.{q, k, v, out}, cross.{q, out}: C to
/// C, cross.{k, v}: Cv to C; ffn_query and ffn_text: fc1 C to F, fc2 F to C; a norm in each of the four. Without
/// cross_attention the image is not used and cross has no parameters. A row that sees no key has attention 0. Throws
/// heed::Error for shapes that do not fit. O(B ((Nq + Nt)^2 + Nq M) C) for the attentions. The same bits for any number
/// of threads. Source: Li et al. 2023 (BLIP-2), figure 2; every other layer has cross-attention there.
template <Real T>
struct QueryFormerLayer {
  struct Options {
    Index num_heads = 12;
    bool cross_attention = true;
    double eps = 1e-12;
  };
  /// Masks must outlive the call, and of a recorded one the tape's recording.
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> self_mask = std::nullopt;
    std::optional<View<const std::uint8_t, 2>> image_mask = std::nullopt;
  };
  template <class Out>
  struct Result {
    Out query_out, text_out;
  };
  struct Attention {
    Linear<T> q = {}, k = {}, v = {}, out = {};
    LayerNorm<T> norm = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "norm.", norm);
    }
  };
  struct FeedForward {
    Mlp<T> mlp = {};
    LayerNorm<T> norm = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "", mlp, "norm.", norm);
    }
  };

  Options options = {};
  Attention self = {}, cross = {};
  FeedForward ffn_query = {}, ffn_text = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("self.", self, f);
    if (options.cross_attention) {
      visit_part("cross.", cross, f);
    } else {
      visit_part("cross.", cross, f, heed::optional);
    }
    visit_parts(f, "ffn_query.", ffn_query, "ffn_text.", ffn_text);
  }

  template <Operand Q, Operand X, Operand V>
  auto operator()(const Q& query, const X& text, const V& image, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), query, text, image, inputs);
  }
  template <Device D, Operand Q, Operand X, Operand V>
  auto operator()(const D& device, const Q& query_like, const X& text, const V& image,
                  const Inputs& inputs = {}) const {
    const auto query = parameter_with(query_like, text, image);
    static_assert(kOperandRank<Q> == 3 && kOperandRank<X> == 3 && kOperandRank<V> == 3,
                  "heed::QueryFormerLayer: query, text and image are (B, tokens, C)");
    const Index heads = options.num_heads, first = sizes_of(query)[1], second = sizes_of(text)[1];
    const auto both = [&](const Linear<T>& layer) { return linear_concat(device, layer, query, layer, text); };
    const auto see = softmax_attention(optional_key_mask(inputs.self_mask));
    const auto mixed = self.out(device, attend_heads(device, see, heads, both(self.q), both(self.k), both(self.v)));
    auto z_query = summed(device, self.norm, query, view(mixed).slice(1, 0, first));
    const auto z_text = summed(device, self.norm, text, view(mixed).slice(1, first, second));
    if (options.cross_attention) {
      const auto read = softmax_attention(optional_key_mask(inputs.image_mask));
      const auto values =
          attend_heads(device, read, heads, cross.q(device, z_query), cross.k(device, image), cross.v(device, image));
      z_query = summed(device, cross.norm, z_query, cross.out(device, values));
    }
    auto query_out = fed(device, ffn_query, z_query);
    auto text_out = fed(device, ffn_text, z_text);
    return Result<decltype(query_out)>{std::move(query_out), std::move(text_out)};
  }

 private:
  template <class D, Operand X, Operand Y>
  auto summed(const D& device, const LayerNorm<T>& norm, const X& x, const Y& y) const {
    const auto sum = add(device, x, y);
    return layer_norm(device, sum, norm.weight, norm.bias, options.eps);
  }
  template <class D, Operand Z>
  auto fed(const D& device, const FeedForward& ffn, const Z& z) const {
    return summed(device, ffn.norm, z, ffn.mlp(device, Gelu(), z));
  }
};

}  // namespace heed::inline HEED_ISA
