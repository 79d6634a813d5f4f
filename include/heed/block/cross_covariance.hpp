// SPDX-License-Identifier: Apache-2.0
// cross_covariance: softmax attention with the channels of each head as tokens, by their cosines.
#pragma once

#include "heed/block/cosine_similarity.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = softmax over j of temperature_h cos(q_i, k_j), times v, for the channels i and j of each head h: q (B, H, d,
/// N), k and v (B, H, e, N), out (B, H, d, N), temperature (H). Into a tensor, view or variable that nothing has read
/// yet.
///
/// Channels of tokens (B, N, H d) are split_heads(x, H).permute({0, 1, 3, 2}), those of a map (B, H d, h, w)
/// view(x).merge(2).split(1, d): both are read and written in place. Cosines as by cosine_similarity. Throws
/// heed::Error for shapes that do not fit. Time O(B H d e N): linear in N, of which nothing but the result is made; the
/// same bits for any number of threads. Gradient: of the blocks that it is made of.
template <Device D, Operand Q, Operand K, Operand V, Operand S, Operand O>
void cross_covariance(const D& device, const Q& q, const K& k, const V& v, const S& temperature, double eps,
                      const O& out) {
  require(sizes_of(temperature)[0] == sizes_of(q)[1], "cross_covariance", "temperature must have shape (H) = (",
          sizes_of(q)[1], "), got (", sizes_of(temperature)[0], ")");
  const auto cosines = cosine_similarity(device, q, k, eps);
  const auto scores = multiply(device, cosines, view(temperature).split(0, 1).split(1, 1));
  const auto weights = softmax(device, scores);
  matmul(device, weights, v, out);
}

}  // namespace heed::inline HEED_ISA
