// SPDX-License-Identifier: Apache-2.0
// sigmoid_attention: every pair is weighed on its own.
#pragma once

#include "heed/attention/normalizer/row_weights.hpp"

namespace heed::inline HEED_ISA {

/// How the weights of a query shrink with its index i, from 0.
enum class SigmoidNormalization {
  kNone,    ///< not
  kSqrt,    ///< by 1 / sqrt(i + 1)
  kLinear,  ///< by 1 / (i + 1)
};

/// out_i = f_i sum over j of sigmoid(scale q_i . k_j + bias) v_j.
///
///   heed::SigmoidAttention attend{{.bias = -std::log(double(n))}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv), all float or all double. The paper's bias is
/// -ln of the number of keys; f_i = (i + 1)^-1/2 or ^-1 by `normalization`, causal or not. Causal is j <= i + M - N; a
/// later key or value never changes a result, and a query that sees no key gives 0. Throws heed::Error, before anything
/// is written, for shapes and options that do not fit. Time O(B H N M (D + Dv)); no N x M memory. The same bits for any
/// number of threads. Source: Ramapuram et al. 2025; apple/ml-sigmoid-attention.
struct SigmoidAttention {
  struct Options {
    double bias = 0;
    SigmoidNormalization normalization = SigmoidNormalization::kNone;
    bool causal = false;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    using T = OperandScalar<Q>;
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::SigmoidAttention: q is (B, H, N, D), k (B, H, M, D) and v (B, H, M, Dv)");
    using enum SigmoidNormalization;
    const RowAttentionOptions common{options.causal, options.scale, {}};
    const SigmoidWeights normalizer{options.bias, options.normalization == kNone   ? 0
                                                  : options.normalization == kSqrt ? 0.5
                                                                                   : 1.0};
    const View<const T, 1> none;
    detail::check_row_attention<T>(kName, sizes_of(q), sizes_of(k), sizes_of(v), common);
    normalizer.check(none, sizes_of(q)[1]);
    auto out = make_output<T, 4>(kName, {sizes_of(q)[0], sizes_of(q)[1], sizes_of(q)[2], sizes_of(v)[3]}, q, k, v);
    if constexpr (AnyRecorded<Q, K, V>) {
      row_weighted_attention(device, normalizer, none, q, k, v, common, out);
    } else {
      row_weighted_attention(device, normalizer, none, const_view(q), const_view(k), const_view(v), common, view(out));
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "sigmoid_attention";
};

}  // namespace heed::inline HEED_ISA
