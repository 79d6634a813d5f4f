// SPDX-License-Identifier: Apache-2.0
// qk_norm_attention: self-attention of normalised queries and keys.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/linear.hpp"
#include "heed/cross/query_key_norm.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(softmax(s) v)) of heads q, k and v of x, with q and k normalised over the channels of a head first,
/// which bounds the scores: s = norm(q) norm(k)^T / sqrt(D), and for kL2 s = scale * cosine(q, k).
///
///   heed::QkNormAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C); q, k, v, out: C to C, D = C / num_heads, biases optional; q_norm.weight and k_norm.weight (D)
/// for kRms, with .bias for kLayer, shared by the heads; scale (1) or (H) for kL2. eps is that of the norm: 1e-6 for
/// kRms and kLayer, 1e-12 for kL2, unless it is given. kNone is plain multi-head attention. Under kL2 a vector of zeros
/// stays one. Throws heed::Error for shapes that do not fit. Time of four products and of softmax_attention. The same
/// bits for any number of threads. Source: Henry et al. 2020 (kL2); Dehghani et al. 2023 (kLayer).
template <Real T>
struct QkNormAttention {
  struct Options {
    Index num_heads = 1;
    QueryKeyNorm norm = QueryKeyNorm::kRms;
    std::optional<double> eps = std::nullopt;  ///< none: that of the norm
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  LayerNorm<T> q_norm = {}, k_norm = {};
  Tensor<T, 1> scale = {};  ///< (1) or (H), of kL2

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "q_norm.", q_norm, "k_norm.", k_norm);
    f("scale", scale, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::QkNormAttention: x is (B, N, C)");
    check(sizes_of(x)[2]);
    const Index heads = options.num_heads;
    const auto queries = q(device, x);
    const auto keys = k(device, x);
    const auto values = v(device, x);
    if (options.norm == QueryKeyNorm::kNone)
      return out(device, attend_heads(device, softmax_attention(), heads, queries, keys, values));
    if (options.norm == QueryKeyNorm::kL2) {
      const double eps = options.eps.value_or(1e-12);
      const auto unit_q = l2_normalize(device, split_heads(queries, heads), {.eps = eps});
      const auto unit_k = l2_normalize(device, split_heads(keys, heads), {.eps = eps});
      const auto scaled = multiply(device, unit_q, view(scale).split(0, 1).split(1, 1));  // (H or 1, 1, 1)
      const auto attend = softmax_attention({.scale = 1});
      return out(device, attend_heads(device, attend, scaled, unit_k, split_heads(values, heads)));
    }
    const double eps = options.eps.value_or(1e-6);
    auto normed_q = make_output<OperandScalar<X>, 3>(kName, sizes_of(queries), x);
    auto normed_k = make_output<OperandScalar<X>, 3>(kName, sizes_of(keys), x);
    detail::normalize_heads(device, options.norm, queries, heads, q_norm, eps, view(normed_q));
    detail::normalize_heads(device, options.norm, keys, heads, k_norm, eps, view(normed_k));
    return out(device, attend_heads(device, softmax_attention(), heads, normed_q, normed_k, values));
  }

 private:
  static constexpr std::string_view kName = "qk_norm_attention";

  void check(Index channels) const {
    const Index heads = options.num_heads;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v);
    require(options.norm != QueryKeyNorm::kL2 || scale.size() == 1 || scale.size() == heads, kName,
            "scale must have shape (1) or (H) = (", heads, "), got (", scale.size(), ")");
  }
};

}  // namespace heed::inline HEED_ISA
