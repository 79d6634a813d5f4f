// SPDX-License-Identifier: Apache-2.0
// entmax_attention: attention whose weights are exactly 0 for most keys.
#pragma once

#include "heed/attention/normalizer/row_weights.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

/// out = entmax_alpha(scale q k^T) v: with alpha = 1 softmax attention, with 2 sparsemax attention.
///
///   heed::EntmaxAttention<float> attend{{.alpha = 1.5, .causal = true}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v, key_mask)
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv); key_mask (B, M) of std::uint8_t, 1 = visible.
/// head_alpha (H), if there, is one learned alpha for each head in place of the option. Causal is j <= i + M - N.
///
/// A query that sees no key gives 0; a hidden key or value never changes a result. Throws heed::Error, before anything
/// is written, for shapes that do not fit and an alpha below 1. Time O(B H N M D), of values only those with a weight;
/// no N x M memory. The same bits for any number of threads. Source: Peters et al. 2019; head_alpha: Correia et al.
/// 2019.
template <Real T>
struct EntmaxAttention {
  struct Options {
    double alpha = 1.5;  ///< 1 or more; not used where there is head_alpha
    bool causal = false;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};
  Tensor<T, 1> head_alpha = {};  ///< (H) or empty

  template <class F>
  void for_each_parameter(F&& f) {
    f("head_alpha", head_alpha, heed::optional);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v, const View<const std::uint8_t, 2>& key_mask = {}) const {
    return (*this)(DeviceRef(), q, k, v, key_mask);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v,
                  const View<const std::uint8_t, 2>& key_mask = {}) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::EntmaxAttention: q is (B, H, N, D), k (B, H, M, D) and v (B, H, M, Dv)");
    const RowAttentionOptions common{options.causal, options.scale, key_mask};
    const EntmaxWeights normalizer{options.alpha};
    detail::check_row_attention<T>(kName, sizes_of(q), sizes_of(k), sizes_of(v), common);
    normalizer.check(const_view(head_alpha), sizes_of(q)[1]);
    auto out = make_output<T, 4>(kName, {sizes_of(q)[0], sizes_of(q)[1], sizes_of(q)[2], sizes_of(v)[3]}, q, k, v);
    if constexpr (AnyRecorded<Q, K, V>) {
      row_weighted_attention(device, normalizer, head_alpha, q, k, v, common, out);
    } else {
      row_weighted_attention(device, normalizer, const_view(head_alpha), const_view(q), const_view(k), const_view(v),
                             common, view(out));
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "entmax_attention";
};

}  // namespace heed::inline HEED_ISA
