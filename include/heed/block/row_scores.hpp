// SPDX-License-Identifier: Apache-2.0
// row_scores: the products of one row with many.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/gemm.hpp"

namespace heed::inline HEED_ISA {

/// scores(b, m) = sum over d of query(b, d) key(b, m, d): each query against keys of its own, query (B, D), key (B, M,
/// D). The keys are read once and where they are; matmul would bring them into panels for many queries. Any strides and
/// storage, computed and given in double for double and in float for the rest. Throws heed::Error for shapes that do
/// not fit. Time O(B M D); the same bits for any batch and number of threads.
///
/// No gradient: what is chosen by these scores is scored again by blocks that have one.
template <Device D, TensorLike Q, TensorLike K>
auto row_scores(const D& device, const Q& query_like, const K& key_like) {
  using T = Compute<ScalarOf<Q>>;
  const auto query = const_view(query_like);
  const auto key = const_view(key_like);
  static_assert(decltype(query)::rank == 2 && decltype(key)::rank == 3,
                "heed::row_scores: query is (B, D) and key (B, M, D)");
  require_shape("row_scores", "key", key.sizes, std::array<Index, 3>{query.size(0), key.size(1), query.size(1)});
  Tensor<T, 2> scores(key.size(0), key.size(1));
  const View<const ScalarOf<K>, 1> none;
  const auto one = [&](const auto& on, Index b) {
    kernel::gemm_few(on, query.slice(0, b, 1), key.select(0, b), none, view(scores).slice(0, b, 1));
  };
  if (key.size(0) < 2 * thread_count(device)) {
    for (Index b = 0; b < key.size(0); ++b) one(device, b);
  } else {
    parallel_for(device, key.size(0), [&](Index b) { one(Eigen::DefaultDevice(), b); });
  }
  return scores;
}

}  // namespace heed::inline HEED_ISA
