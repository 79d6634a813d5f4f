// SPDX-License-Identifier: Apache-2.0
// kmeans_routing_attention and kmeans_centroid_update: routing attention by spherical k-means, with memory slots.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/single.hpp"
#include "heed/sparse/clusters.hpp"

namespace heed::inline HEED_ISA {

/// Every centroid collects the queries and keys of largest cosine; they attend among themselves and to memory slots.
///
///   heed::KmeansRoutingAttention<float> attend{{.window_size = 256, .causal = true, .shared_qk = true}};
///   auto [y, aux_loss] = attend(q, k, v);                   // or attend(device, q, k, v, {.query_mask = mask})
///
/// q (B, H, N, D), k (B, H, M, D), v and y (.., Dv); centroids (H, K, D), used as they are, of unit length in practice;
/// mem_key (H, K, m, D) and mem_value (H, K, m, Dv) if num_mem_kv = m > 0. The members of a centroid are the
/// min(window_size, N) queries and min(window_size, M) keys (context_window_size with receives_context) of largest
/// product of unit(q) and unit(k) with it; shared_qk without context: the keys are the query members, and k = unit(k),
/// given k = q. In a cluster softmax over [memory slots, keys] of q k^T / sqrt(D), with scores filled in this order,
/// slots never: a large negative number (the authors' most negative one, see FilledScores) where the query or the key
/// is not kept by query_mask (B, N) and key_mask (B, M; default query_mask unless receives_context) and, if causal,
/// where the key's position is beyond the query's; -5e4 for shared_qk at the own position. A row of fills alone spreads
/// evenly. A token gets the sum of its outputs / (the number of its clusters + 1e-5). aux_loss, of one element:
/// commitment times the mean of (routing vectors - nearest centroid)^2 over queries and, if they are routed, keys.
///
/// Ties go to the lower position or centroid; no choice has a gradient. Throws heed::Error for shapes and options that
/// do not fit. Time O(B H ((N + M) K D + K w^2 D)). The same bits for any number of threads.
/// Source: Roy et al., TACL 2021, as in lucidrains/routing-transformer, KmeansAttention.
template <Real T>
struct KmeansRoutingAttention {
  struct Options {
    Index window_size = 256;          ///< 1 or more
    Index context_window_size = 256;  ///< keys of a cluster with receives_context, 1 or more
    bool causal = false;
    bool shared_qk = false;
    bool receives_context = false;
    Index num_mem_kv = 0;  ///< 1 or more if causal and not shared_qk
    double commitment = 1e-4;
  };
  struct Inputs {
    View<const std::uint8_t, 2> query_mask = {};  ///< (B, N), 1 = keep, or of null data for all
    View<const std::uint8_t, 2> key_mask = {};    ///< (B, M), or of null data
  };
  template <class Out, class Loss>
  struct Result {
    Out out;
    Loss aux_loss;
  };

  Options options = {};
  Tensor<T, 3> centroids = {};
  Tensor<T, 4> mem_key = {}, mem_value = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("centroids", centroids);
    f("mem_key", mem_key, heed::optional);
    f("mem_value", mem_value, heed::optional);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), q, k, v, inputs);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q_like, const K& k_like, const V& v_like, const Inputs& inputs = {}) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::KmeansRoutingAttention: q, k and v are (B, H, N, D)");
    check(sizes_of(q_like), sizes_of(k_like), sizes_of(v_like), inputs);
    const bool one_list = options.shared_qk && !options.receives_context;
    const auto q = parameter_with(q_like, k_like, v_like);
    const auto k = parameter_with(k_like, q_like, v_like);
    const auto v = parameter_with(v_like, q_like, k_like);
    const Index queries = sizes_of(q)[2], keys = sizes_of(k)[2], clusters = centroids.dimension(1);
    const Index slots = options.num_mem_kv, rows = std::min(options.window_size, queries);
    const Index columns =
        one_list ? rows : std::min(options.receives_context ? options.context_window_size : options.window_size, keys);
    const auto q_unit = l2_normalize(device, q);
    const auto k_unit = l2_normalize(device, k);
    const auto q_products = detail::centroid_products(device, values_of(q_unit), const_view(centroids));
    const auto k_products =
        one_list ? q_products : detail::centroid_products(device, values_of(k_unit), const_view(centroids));
    const auto q_members = detail::cluster_members(device, q_products, rows);
    const auto k_members = one_list ? q_members : detail::cluster_members(device, k_products, columns);
    const auto& key_mask = inputs.key_mask.data || options.receives_context ? inputs.key_mask : inputs.query_mask;
    const auto q_places = packed_with(detail::cluster_positions(q_members, rows, 0, false, inputs.query_mask), q, k, v);
    const auto k_places = packed_with(detail::cluster_positions(k_members, columns, slots, false, key_mask), q, k, v);

    const auto cluster = [&](const auto& x, Index size) { return view(x).split(2, size).merge(1); };
    const auto with_slots = [&](const auto& x, const Tensor<T, 4>& memory) {
      if (slots == 0) return contiguous(device, x);
      return concat<2>(device, parameter_with(memory, q, k, v).merge(0).template promote<4>(), x);
    };
    const auto gathered_q = gather(device, q, q_members);
    const auto gathered_k = one_list ? gather(device, k_unit, k_members) : gather(device, k, k_members);
    const auto gathered_v = gather(device, v, k_members);
    const auto attention =
        softmax_attention(fill_scores(const_view(q_places), const_view(k_places), options.causal, options.shared_qk));
    const auto all_k = with_slots(cluster(gathered_k, columns), mem_key);
    const auto all_v = with_slots(cluster(gathered_v, columns), mem_value);
    const auto mixed = attention(device, cluster(gathered_q, rows), view(all_k), view(all_v));
    const auto sums = scatter_add(device, view(mixed).split(1, clusters).merge(2), q_members, queries);
    auto out = multiply(device, sums, constant_with(detail::cluster_shares<T>(q_members, queries, 1e-5), q, k, v));

    const double elements =
        double(sizes_of(q)[0] * sizes_of(q)[1] * (queries + (one_list ? 0 : keys)) * sizes_of(q)[3]);
    auto loss = distance(device, q_unit, q_products, options.commitment / elements);
    if (!one_list) loss = add(device, loss, distance(device, k_unit, k_products, options.commitment / elements));
    return Result<decltype(out), decltype(loss)>{std::move(out), std::move(loss)};
  }

 private:
  static constexpr std::string_view kName = "kmeans_routing_attention";

  // `factor` times the sum of |x - its nearest centroid|^2.
  template <class D, class X>
  auto distance(const D& device, const X& x, const Tensor<T, 4>& products, double factor) const {
    const auto nearest = detail::nearest_centroids(device, products);
    const auto rows = detail::nearest_rows(device, parameter_with(centroids, x), nearest, sizes_of(x)[2]);
    const auto squares = pointwise(detail::SquaredDistance(), device, x, rows);
    return single(sum(device, squares, {0, 1, 2, 3}, factor));
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v,
             const Inputs& inputs) const {
    detail::check_clusters(kName, q, k, v, inputs.query_mask, inputs.key_mask, const_view(centroids).sizes);
    const bool one_list = options.shared_qk && !options.receives_context;
    require(!one_list || k[2] == q[2], kName, "with shared_qk k must be as long as q, ", q[2], ", got ", k[2]);
    require(!inputs.query_mask.data || inputs.key_mask.data || options.receives_context || k[2] == q[2], kName,
            "query_mask stands for key_mask where k is as long as q; N = ", q[2], " and M = ", k[2],
            " need a key_mask");
    require(options.window_size > 0 && options.context_window_size > 0 && options.num_mem_kv >= 0, kName,
            "window_size and context_window_size must be 1 or more and num_mem_kv 0 or more, got ", options.window_size,
            ", ", options.context_window_size, " and ", options.num_mem_kv);
    require(!options.causal || options.shared_qk || options.num_mem_kv > 0, kName,
            "causal without shared_qk needs num_mem_kv of 1 or more");
    if (options.num_mem_kv == 0) return;
    const Index clusters = centroids.dimension(1);
    require_shape(kName, "mem_key", const_view(mem_key).sizes,
                  std::array<Index, 4>{q[1], clusters, options.num_mem_kv, q[3]});
    require_shape(kName, "mem_value", const_view(mem_value).sizes,
                  std::array<Index, 4>{q[1], clusters, options.num_mem_kv, v[3]});
  }
};

/// One step of the spherical k-means of kmeans_routing_attention.
///
///   heed::KmeansCentroidUpdate update{{.decay = 0.999}};
///   auto [centroids, assignment] = update(x, centroids);    // or update(device, x, centroids)
///
/// x (B, H, N, D), centroids (H, K, D); assignment (B, H, N) int32, the centroid of largest product with unit(x).
/// centroids = decay old + (1 - decay) unit(sum of the unit(x) assigned to it), the old one in the place of that where
/// none is. Ties go to the lower centroid. No gradient. Throws heed::Error for shapes and options that do not fit. Time
/// O(B H N K D). Source: as kmeans_routing_attention, Kmeans.
struct KmeansCentroidUpdate {
  struct Options {
    double decay = 0.999;  ///< 0 to 1
  };
  template <Real T>
  struct Result {
    Tensor<T, 3> centroids;
    Tensor<std::int32_t, 3> assignment;
  };

  Options options = {};

  template <TensorLike X, TensorLike C>
  auto operator()(const X& x, const C& centroids) const {
    return (*this)(DeviceRef(), x, centroids);
  }
  template <Device D, TensorLike X, TensorLike C>
  auto operator()(const D& device, const X& x_like, const C& centroids_like) const {
    using T = ScalarOf<X>;
    constexpr std::string_view kName = "kmeans_centroid_update";
    const View<const T, 4> x = const_view(x_like);
    const View<const T, 3> centroids = const_view(centroids_like);
    const Index count = centroids.size(1);
    require(x.size(1) == centroids.size(0) && x.size(3) == centroids.size(2) && count > 0, kName,
            "centroids must have shape (H, K, D) = (", x.size(1), ", K, ", x.size(3), "), got ",
            shape_text(centroids.sizes));
    require(options.decay >= 0 && options.decay <= 1, kName, "decay must be 0 to 1, got ", options.decay);
    const auto rows = l2_normalize(device, x.permute({1, 0, 2, 3}));  // (H, B, N, D)
    const auto products = detail::centroid_products(device, const_view(rows).permute({1, 0, 2, 3}), centroids);
    const auto nearest = detail::nearest_centroids(device, products);
    const auto means = l2_normalize(device, scatter_add(device, const_view(rows).merge(1), nearest, count));
    Tensor<std::uint8_t, 3> filled(centroids.size(0), count, 1);
    filled.setZero();
    for (Index i = 0; i < nearest.size(); ++i)
      if (nearest.data()[i] >= 0) filled.data()[i / nearest.dimension(1) * count + nearest.data()[i]] = 1;
    Tensor<T, 3> now = means;
    for (Index i = 0; i < filled.size(); ++i)
      if (filled.data()[i] == 0)
        for (Index d = 0; d < x.size(3); ++d) now.data()[i * x.size(3) + d] = centroids(i / count, i % count, d);
    Result<T> result;
    result.centroids = add(device, scale(device, centroids, options.decay), scale(device, now, 1 - options.decay));
    result.assignment = packed_with(const_view(nearest).split(1, std::max<Index>(1, x.size(2))).permute({1, 0, 2}));
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
