// SPDX-License-Identifier: Apache-2.0
// two_sided_attention: attention in linear time, keys normalised over positions and queries over their channels.
#pragma once

#include "heed/block/matmul.hpp"
#include "heed/block/softmax_axis.hpp"

namespace heed::inline HEED_ISA {

/// out = v softmax_n(k)^T softmax_d(q) for each head, of channels in rows: q and k (B, H, d, N), v and out (B, H, e,
/// N). The softmax of k is over the N positions, each channel apart, that of q over the d channels of a position. Into
/// a tensor, view or variable that nothing has read yet.
///
/// Any strides, so that channels of maps and of tokens are read and written where they are. Throws heed::Error for
/// shapes that do not fit. Time O(B H d e N), memory O(B H d N) for the two softmaxes; the same bits for any number of
/// threads. Source: Shen et al. 2021.
/// Gradient: of the blocks that it is made of.
template <Device D, Operand Q, Operand K, Operand V, Operand O>
void two_sided_attention(const D& device, const Q& q, const K& k, const V& v, const O& out) {
  const auto keys = softmax(device, k);
  const auto gathered = matmul(device, keys, view(v).permute({0, 1, 3, 2}));  // (B, H, d, e)
  const auto queries = softmax<2>(device, q);
  matmul(device, view(gathered).permute({0, 1, 3, 2}), queries, out);
}

}  // namespace heed::inline HEED_ISA
