// SPDX-License-Identifier: Apache-2.0
// variable_block_sparse_attention: softmax attention over set blocks, whose lengths may differ from head to head.
#pragma once

#include "heed/attention/mask/blocks.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale * q k^T) v over the keys of the blocks that are set for a query's block.
///
///   heed::VariableBlockSparseAttention sparse;
///   sparse(q, k, v, block_mask, q_block_lengths, k_block_lengths) -> out
///   const auto attend = sparse.attend(block_mask, q_block_lengths, k_block_lengths);
///   attend.with_lse(q, k, v) -> {out, lse}                  attend(device, q, k, v, into(out, lse))
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv); block_mask (H, blocks of queries, blocks of keys) of std::uint8_t
/// or bool, 1 = set; q_block_lengths (H, blocks of queries) and k_block_lengths (Hk, blocks of keys) int32, 0 or more,
/// summing to N and M. Query head h cuts its queries by its own lengths and its keys by those of its key head. Without
/// the lengths, blocks are uniform, of options.q_block_size and k_block_size, the last ones possibly short. A row that
/// sees no key gives 0 and -infinity. Errors and threads as softmax_attention. Cost proportional to the set blocks,
/// and O(H N + Hk M) to lay out the lengths.
/// Source: the block masks of Bu et al. 2026, Long-Context Attention Benchmark.
struct VariableBlockSparseAttention {
  struct Options {
    Index q_block_size = 0;                      ///< queries; used without lengths, then 1 or more
    Index k_block_size = 0;                      ///< keys; used without lengths, then 1 or more
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };
  Options options = {};

  /// The attention of one mask and its lengths, and that of uniform blocks.
  template <TensorLike Mask, TensorLike QL, TensorLike KL>
  auto attend(const Mask& mask, const QL& q_block_lengths, const KL& k_block_lengths) const {
    return softmax_attention(block_mask(mask, q_block_lengths, k_block_lengths), {.scale = options.scale});
  }
  template <TensorLike Mask>
  auto attend(const Mask& mask) const {
    return softmax_attention(block_mask(mask, options.q_block_size, options.k_block_size), {.scale = options.scale});
  }

  template <Operand Q, Operand K, Operand V, TensorLike Mask, TensorLike QL, TensorLike KL>
  auto operator()(const Q& q, const K& k, const V& v, const Mask& mask, const QL& q_lengths,
                  const KL& k_lengths) const {
    return attend(mask, q_lengths, k_lengths)(q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike Mask, TensorLike QL, TensorLike KL>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Mask& mask, const QL& q_lengths,
                  const KL& k_lengths) const {
    return attend(mask, q_lengths, k_lengths)(device, q, k, v);
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
