// SPDX-License-Identifier: Apache-2.0
// two_sided_attention: what queries, softmax over their channels, read from keys, softmax over positions.
#pragma once

#include "heed/block/heads.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax_axis.hpp"

namespace heed::inline HEED_ISA {

/// out = softmax(q over its channels) (softmax(k over its positions)^T v): q (B, H, N, D), k (B, H, M, D), v (B, H, M,
/// Dv), out (B, N, H Dv), the channels of the heads joined. No N x M scores: time O(B H (N + M) D Dv). Throws
/// heed::Error for shapes that do not fit. Source: Shen et al. 2021.
///
/// Gradient: of the blocks that it is made of.
template <Device D, Operand Q, Operand K, Operand V>
auto two_sided_attention(const D& device, const Q& q, const K& k, const V& v) {
  static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                "heed::two_sided_attention: q, k and v are (B, H, N, D)");
  const auto sizes = sizes_of(q), values = sizes_of(v);
  const auto of_channels = softmax(device, q);
  const auto of_positions = softmax<2>(device, k);
  const auto context = matmul(device, view(of_positions).permute({0, 1, 3, 2}), v);
  auto out =
      make_output<OperandScalar<Q>, 3>("two_sided_attention", {sizes[0], sizes[2], sizes[1] * values[3]}, q, k, v);
  matmul(device, of_channels, context, view(out).split(2, values[3]).permute({0, 2, 1, 3}));
  return out;
}

}  // namespace heed::inline HEED_ISA
