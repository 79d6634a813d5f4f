// SPDX-License-Identifier: Apache-2.0
// topk_attention: softmax attention over the largest scores of every query.
#pragma once

#include "heed/attention/gathered.hpp"
#include "heed/attention/schedule/key_choice.hpp"

namespace heed::inline HEED_ISA {

/// softmax over the top_k largest visible scores scale q k^T of each query, times their values.
///
///   heed::TopkAttention attend{{.top_k = 64, .causal = true}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q (B, H, N, D), k (B, H, M, D), v and out (.., Dv), or k and v of fewer heads Hk. Causal is j <= i + M - N. All
/// visible keys where they are fewer than top_k; a query that sees none gives 0. Ties go to the lower key; the choice has
/// no gradient. Throws heed::Error for shapes and options that do not fit. All scores are computed, once, O(B H N M D),
/// a band of queries at a time; only the chosen keys meet the exponential and the values, O(B H N top_k (D + Dv)). The
/// same bits for any number of threads.
/// Source: Gupta et al. 2021, Memory-efficient Transformers via Top-k Attention (transcription).
struct TopkAttention {
  struct Options {
    Index top_k = 64;  ///< 1 or more
    bool causal = false;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q_like, const K& k_like, const V& v_like) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::TopkAttention: q, k and v are (B, H, N, D)");
    using T = OperandScalar<Q>;
    const auto sizes = sizes_of(q_like), keys = sizes_of(k_like);
    require(options.top_k > 0, kName, "top_k must be 1 or more, got ", options.top_k);
    require(keys[0] == sizes[0] && keys[1] > 0 && sizes[1] % keys[1] == 0 && keys[3] == sizes[3], kName,
            "k must have shape (B, H, M, D), got ", shape_text(keys), " for q of shape ", shape_text(sizes));
    const double scale = options.scale.value_or(1 / std::sqrt(double(sizes[3])));
    const auto q = parameter_with(q_like, k_like, v_like);
    const auto k = parameter_with(k_like, q_like, v_like);
    const auto v = parameter_with(v_like, q_like, k_like);
    const auto lists = largest_scores(device, values_of(q), values_of(k), options.top_k, scale, options.causal);
    auto out = make_output<T, 4>(kName, {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q_like, k_like, v_like);
    const std::remove_cvref_t<decltype(q)> no_bias;
    if constexpr (AnyRecorded<Q, K, V>) {
      gathered_attention(device, q, k, v, const_view(lists), no_bias, scale, out);
    } else {
      gathered_attention(device, q, k, v, const_view(lists), no_bias, scale, view(out));
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "topk_attention";
};

}  // namespace heed::inline HEED_ISA
