// SPDX-License-Identifier: Apache-2.0
// Clusters of tokens around centroids: what the forms of routing attention share.
#pragma once

#include "heed/attention/score/fill.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/scatter.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Products of centroids (H, K, D) with the rows of x (B, H, N, D): (B, H, K, N).
template <class D, Real T>
Tensor<T, 4> centroid_products(const D& device, const View<const T, 4>& x, const View<const T, 3>& centroids) {
  return matmul(device, centroids.template promote<4>(), x.permute({0, 1, 3, 2}));
}

/// The `size` members of each centroid, by their largest products, in the order of positions: (B, H, K size).
template <class D, Real T>
Tensor<std::int32_t, 3> cluster_members(const D& device, const Tensor<T, 4>& products, Index size) {
  const auto best = top_k(device, products, size, TopKOrder::kIndex);
  return packed_with(const_view(best.indices).merge(2));
}

/// The centroid of largest product of every token, (H, B N): as gather and scatter_add take them.
template <class D, Real T>
Tensor<std::int32_t, 2> nearest_centroids(const D& device, const Tensor<T, 4>& products) {
  const auto best = top_k(device, const_view(products).permute({1, 0, 3, 2}), 1);
  return packed_with(const_view(best.indices).select(3, 0).merge(1));
}

/// The rows of centroids (H, K, D) that are nearest to the tokens of (B, H, N, D).
template <class D, Operand C>
auto nearest_rows(const D& device, const C& centroids, const Tensor<std::int32_t, 2>& nearest, Index tokens) {
  const auto rows = gather(device, centroids, nearest);
  return contiguous(device, view(rows).split(1, tokens).permute({1, 0, 2, 3}));
}

/// (a - b)^2.
struct SquaredDistance {
  static constexpr std::string_view kName = "squared_distance";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> a, simd::Batch<T> b) const {
    return (a - b) * (a - b);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> a, simd::Batch<T> b) const {
    const simd::Batch<T> two(T(2));
    return Operand == 0 ? simd::Batch<T>(two * d * (a - b)) : simd::Batch<T>(two * d * (b - a));
  }
};

/// Positions of gathered tokens for fill_scores, by cluster: (B, H K, slots + w), the slots first. `rank`: their rank
/// in the cluster in the place of their position. `kept` (B, N), or of null data for all.
inline Tensor<std::int32_t, 3> cluster_positions(const Tensor<std::int32_t, 3>& members, Index size, Index slots,
                                                 bool rank, const View<const std::uint8_t, 2>& kept) {
  const Index batch = members.dimension(0);
  const Index clusters = size > 0 ? members.dimension(1) * (members.dimension(2) / size) : 0;
  Tensor<std::int32_t, 3> positions(batch, clusters, slots + size);
  for (Index row = 0; row < batch * clusters; ++row)
    for (Index i = 0; i < slots + size; ++i) {
      std::int32_t& to = positions.data()[row * (slots + size) + i];
      if (i < slots) {
        to = FilledScores::kNoToken;
        continue;
      }
      const std::int32_t token = members.data()[row * size + i - slots];
      to = rank ? std::int32_t(i - slots) : token;
      if (kept.data && kept(row / clusters, token) == 0) to = -1 - to;
    }
  return positions;
}

/// 1 / (the number of clusters that a token is in + eps), (B, H, N, 1).
template <Real T>
Tensor<T, 4> cluster_shares(const Tensor<std::int32_t, 3>& members, Index tokens, double eps) {
  const Index batch = members.dimension(0), heads = members.dimension(1), count = members.dimension(2);
  Tensor<T, 4> shares(batch, heads, tokens, 1);
  shares.setConstant(T(eps));
  for (Index row = 0; row < batch * heads; ++row)
    for (Index i = 0; i < count; ++i) shares.data()[row * tokens + members.data()[row * count + i]] += T(1);
  for (Index i = 0; i < shares.size(); ++i) shares.data()[i] = T(1) / shares.data()[i];
  return shares;
}

inline void check_clusters(std::string_view where, const std::array<Index, 4>& q, const std::array<Index, 4>& k,
                           const std::array<Index, 4>& v, const View<const std::uint8_t, 2>& query_mask,
                           const View<const std::uint8_t, 2>& key_mask, const std::array<Index, 3>& centroids) {
  require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3], where, "k must have shape (B, H, M, D) = (", q[0], ", ", q[1],
          ", M, ", q[3], "), got ", shape_text(k));
  require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], where, "v must have shape (B, H, M, Dv) = (", k[0], ", ", k[1],
          ", ", k[2], ", Dv), got ", shape_text(v));
  require(centroids[0] == q[1] && centroids[1] > 0 && centroids[2] == q[3], where,
          "centroids must have shape (H, K, D) = (", q[1], ", K, ", q[3], "), got ", shape_text(centroids));
  if (query_mask.data) require_shape(where, "query_mask", query_mask.sizes, std::array<Index, 2>{q[0], q[2]});
  if (key_mask.data) require_shape(where, "key_mask", key_mask.sizes, std::array<Index, 2>{k[0], k[2]});
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
