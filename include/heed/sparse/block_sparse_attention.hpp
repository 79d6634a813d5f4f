// SPDX-License-Identifier: Apache-2.0
// block_sparse_attention: softmax attention over the set blocks of a mask.
#pragma once

#include "heed/attention/mask/blocks.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale * q k^T) v over the keys of the blocks that are set for a query's block, and, if causal, no key behind
/// the query.
///
///   heed::BlockSparseAttention sparse{{.q_block_size = 64, .k_block_size = 64, .causal = true}};
///   sparse(q, k, v, block_mask) -> out                      sparse.attend(block_mask).with_lse(q, k, v) -> {out, lse}
///   sparse.attend(block_mask)(device, q, k, v, into(out, lse))
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv); block_mask of std::uint8_t or bool, (B or 1, H or 1,
/// ceil(N / q_block_size), ceil(M / k_block_size)), 1 = set. Causal is j <= i, aligned at 0. A row that sees no key
/// gives 0 and -infinity. Errors and threads as softmax_attention. Cost proportional to the set blocks.
/// Source: block masks as in FlexAttention, Dong et al. 2024, whose block size is the default.
struct BlockSparseAttention {
  struct Options {
    Index q_block_size = 128;  ///< queries, 1 or more
    Index k_block_size = 128;  ///< keys, 1 or more
    bool causal = false;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };
  Options options = {};

  /// The attention of one block mask.
  template <TensorLike Mask>
  auto attend(const Mask& mask) const {
    const auto blocks = block_mask(mask, options.q_block_size, options.k_block_size);
    return softmax_attention(blocks && when(options.causal, causal(0)), {.scale = options.scale});
  }

  template <Operand Q, Operand K, Operand V, TensorLike Mask>
  auto operator()(const Q& q, const K& k, const V& v, const Mask& mask) const {
    return attend(mask)(q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike Mask>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Mask& mask) const {
    return attend(mask)(device, q, k, v);
  }
};

}  // namespace heed::inline HEED_ISA
