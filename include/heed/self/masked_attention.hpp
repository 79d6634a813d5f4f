// SPDX-License-Identifier: Apache-2.0
// masked_attention: softmax attention under a dense boolean mask.
#pragma once

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale * q k^T) v over the keys that the mask shows, with log-sum-exp on request.
///
///   heed::MaskedAttention masked;                           // or {{.scale = 0.5}}
///   masked(q, k, v, mask) -> out                            masked(q, k, v) -> out, every key visible
///   masked.attend(mask).with_lse(q, k, v) -> {out, lse}     masked.attend(mask)(device, q, k, v, into(out, lse))
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv); mask of std::uint8_t or bool, 1 = visible, (N, M), (H, N, M) or
/// (B, H, N, M), any axis 1 to broadcast. Query head h reads key head floor(h * Hk / H). A row that sees no key gives 0
/// and -infinity. Errors, cost and threads as softmax_attention; what is hidden in granules of 16 keys is skipped. A
/// mask with a structure is better given to softmax_attention as a rule. Source: the yardstick of Bu et al. 2026,
/// Long-Context Attention Benchmark.
struct MaskedAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };
  Options options = {};

  /// The attention of one mask, and that of none.
  template <TensorLike Mask>
  auto attend(const Mask& mask) const {
    return softmax_attention(boolean_mask(mask), {.scale = options.scale});
  }
  auto attend() const { return softmax_attention({.scale = options.scale}); }

  template <Operand Q, Operand K, Operand V, TensorLike Mask>
  auto operator()(const Q& q, const K& k, const V& v, const Mask& mask) const {
    return attend(mask)(q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike Mask>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Mask& mask) const {
    return attend(mask)(device, q, k, v);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return attend()(q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    return attend()(device, q, k, v);
  }
};

}  // namespace heed::inline HEED_ISA
