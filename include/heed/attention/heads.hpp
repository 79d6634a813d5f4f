// SPDX-License-Identifier: Apache-2.0
// attend_heads: an attention whose heads go where the output projection reads them.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/heads.hpp"

namespace heed::inline HEED_ISA {

/// attend(q, k, v) of heads (B, H, N, D), (B, Hk, M, D) and (B, Hk, M, Dv) as channels (B, N, H Dv), written in place:
/// what split_heads makes of projections, and back. Tensors, or variables where one of q, k and v is one.
///
/// Gradient: that of the attention.
template <Device D, class Score, class Rule, Operand Q, Operand K, Operand V>
auto attend_heads(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Q& q, const K& k, const V& v) {
  static_assert(kOperandRank<Q> == 4 && kOperandRank<V> == 4, "heed::attend_heads: q, k and v are (B, heads, N, D)");
  const auto sizes = sizes_of(q);
  const Index width = sizes_of(v)[3];
  auto out = make_output<OperandScalar<Q>, 3>("attend_heads", {sizes[0], sizes[2], sizes[1] * width}, q, k, v);
  attend(device, q, k, v, into(view(out).split(2, width).permute({0, 2, 1, 3})));
  return out;
}

/// The same of channels: q (B, N, H D), k (B, M, Hk D) and v (B, M, Hk Dv), cut into num_heads = H heads and, where it
/// is given, num_kv_heads = Hk. Throws heed::Error where the channels are no multiple of the heads.
template <Device D, class Score, class Rule, Operand Q, Operand K, Operand V>
auto attend_heads(const D& device, const SoftmaxAttention<Score, Rule>& attend, Index num_heads, const Q& q, const K& k,
                  const V& v, Index num_kv_heads = 0) {
  const Index kv_heads = num_kv_heads == 0 ? num_heads : num_kv_heads;
  return attend_heads(device, attend, split_heads(q, num_heads), split_heads(k, kv_heads), split_heads(v, kv_heads));
}

}  // namespace heed::inline HEED_ISA
