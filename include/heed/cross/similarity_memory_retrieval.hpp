// SPDX-License-Identifier: Apache-2.0
// similarity_memory_retrieval: a question picks the most similar entries of a memory.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

enum class MemoryOrder {
  kPosition,  ///< in the order of the memory
  kScore,     ///< from the most similar on
};

/// similarity = cosines of query and key, probability = softmax over the memory of similarity / temperature, indices =
/// the k most similar entries, the lower index of equal ones, retrieved = their values; k = min(top_k, M).
///
///   heed::SimilarityMemoryRetrieval retrieve{{.top_k = 4}};
///   auto [similarity, probability, indices, retrieved] = retrieve(query, key, value);
///
/// query (Q, C), key (M, C), one summary for each entry, value (M, P); similarity and probability (Q, M), indices (Q,
/// k) int32, retrieved (Q, k, P). Vectors are divided by max(|.|, 1e-12). Gradients flow through similarity,
/// probability and the gathered values, not through the choice. Throws heed::Error for shapes and options that do not
/// fit. Time O(Q M C). The same bits for any number of threads. Source: Zhang et al. 2024
/// (InternLM-XComposer2.5-OmniLive), a transcription of the authors' retrieval step.
struct SimilarityMemoryRetrieval {
  struct Options {
    Index top_k = 4;
    double temperature = 0.1;
    MemoryOrder order = MemoryOrder::kPosition;
  };
  template <class S, class R>
  struct Result {
    S similarity, probability;
    Tensor<std::int32_t, 2> indices;
    R retrieved;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& query, const K& key, const V& value) const {
    return (*this)(DeviceRef(), query, key, value);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& query, const K& key, const V& value) const {
    static_assert(kOperandRank<Q> == 2 && kOperandRank<K> == 2 && kOperandRank<V> == 2,
                  "heed::SimilarityMemoryRetrieval: query is (Q, C), key (M, C) and value (M, P)");
    const auto q = sizes_of(query), k = sizes_of(key), v = sizes_of(value);
    require(k[1] == q[1], kName, "key must have shape (M, C) with C = ", q[1], ", got ", shape_text(k));
    require(v[0] == k[0], kName, "value must have shape (M, P) with M = ", k[0], ", got ", shape_text(v));
    require(options.top_k >= 0, kName, "top_k must be 0 or more, got ", options.top_k);
    require(options.temperature > 0, kName, "temperature must be positive, got ", options.temperature);
    const auto all = [&](const auto& x) { return parameter_with(x, query, key, value); };
    const auto questions = l2_normalize(device, all(query)), entries = l2_normalize(device, all(key));
    auto similarity = matmul(device, questions, view(entries).permute({1, 0}));
    auto probability = softmax(device, scale(device, similarity, 1 / options.temperature));
    auto indices = top_k(device, similarity, std::min(options.top_k, k[0]),
                         options.order == MemoryOrder::kPosition ? TopKOrder::kIndex : TopKOrder::kValue)
                       .indices;
    const auto rows = gather(device, all(value), view(indices).merge(0));
    auto retrieved = contiguous(device, view(rows).template reshape<3>({q[0], indices.dimension(1), v[1]}));
    return Result<decltype(similarity), decltype(retrieved)>{std::move(similarity), std::move(probability),
                                                             std::move(indices), std::move(retrieved)};
  }

 private:
  static constexpr std::string_view kName = "similarity_memory_retrieval";
};

}  // namespace heed::inline HEED_ISA
