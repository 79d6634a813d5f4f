// SPDX-License-Identifier: Apache-2.0
// routing_attention and routing_centroid_update: attention within clusters of queries and keys, and their k-means.
#pragma once

#include "heed/block/normalize.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/single.hpp"
#include "heed/sparse/clusters.hpp"

namespace heed::inline HEED_ISA {

/// Every centroid collects the queries and the keys that are closest to it; they attend among themselves.
///
///   heed::RoutingAttention<float> attend{{.window_size = 256, .causal = true}};
///   auto [y, clustering_loss] = attend(q, v);               // shared_qk; else attend(q, k, v); a device may be first
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), y (B, H, N, Dv); centroids (H, K, D). q and k are layer-normalised
/// over D without gain (eps 1e-6); shared_qk: k is the normalised q. The members of a centroid are the min(w, N)
/// queries and min(w, M) keys of largest product with it, each in the order of positions. In a cluster softmax(scale q
/// k^T) v, where a pair gets the score -1e9 (bounded, see FilledScores) if its key is masked (inputs.key_mask (B, M), 1
/// = keep) or, if causal, its key's rank among the members is beyond its query's: the causality of positions for
/// shared_qk only. A row in which all pairs are so spreads evenly. A token in several clusters gets the sum of its
/// outputs / (their number + 0.01), one in none 0. clustering_loss, of one element: beta times the mean of |x - nearest
/// centroid|^2 over the elements of q, plus the same of k (shared_qk: twice that of q); the centroid is constant in it.
///
/// Ties go to the lower position or centroid; no choice has a gradient. Throws heed::Error for shapes and options that
/// do not fit. Time O(B H (N K D + K w^2 D)). The same bits for any number of threads. Source: Roy et al., TACL 2021,
/// Efficient Content-Based Sparse Attention with Routing Transformers, and the authors' utils.py (transcription; that
/// an all-masked row is even is our reading of its finite fill).
template <Real T>
struct RoutingAttention {
  struct Options {
    Index window_size = 256;  ///< w, members of a cluster, 1 or more
    bool causal = false;
    bool shared_qk = true;
    double scale = 1;
    double beta = 1e-4;
  };
  struct Inputs {
    View<const std::uint8_t, 2> key_mask = {};  ///< (B, M), or of null data for all
  };
  template <class Out, class Loss>
  struct Result {
    Out out;
    Loss clustering_loss;
  };

  Options options = {};
  Tensor<T, 3> centroids = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("centroids", centroids);
  }

  template <Operand Q, Operand V>
  auto operator()(const Q& q, const V& v, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), q, v, inputs);
  }
  template <Device D, Operand Q, Operand V>
  auto operator()(const D& device, const Q& q, const V& v, const Inputs& inputs = {}) const {
    require(options.shared_qk, kName, "without shared_qk there must be keys");
    const auto queries = normalized(device, parameter_with(q, v));
    detail::check_clusters(kName, sizes_of(q), sizes_of(q), sizes_of(v), {}, inputs.key_mask,
                           const_view(centroids).sizes);
    return attend(device, view(queries), view(queries), parameter_with(v, q), inputs.key_mask);
  }
  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), q, k, v, inputs);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Inputs& inputs = {}) const {
    require(!options.shared_qk, kName, "with shared_qk the keys are the queries");
    detail::check_clusters(kName, sizes_of(q), sizes_of(k), sizes_of(v), {}, inputs.key_mask,
                           const_view(centroids).sizes);
    const auto queries = normalized(device, parameter_with(q, k, v));
    const auto keys = normalized(device, parameter_with(k, q, v));
    return attend(device, view(queries), view(keys), parameter_with(v, q, k), inputs.key_mask);
  }

 private:
  static constexpr std::string_view kName = "routing_attention";

  template <class D, class X>
  static auto normalized(const D& device, const X& x) {
    static_assert(kOperandRank<X> == 4, "heed::RoutingAttention: q, k and v are (B, H, N, D)");
    const Tensor<T, 1> none;
    return layer_norm(device, x, none, none, 1e-6);
  }

  template <class D, class Q, class K, class V>
  auto attend(const D& device, const Q& q, const K& k, const V& v, const View<const std::uint8_t, 2>& key_mask) const {
    require(options.window_size > 0, kName, "window_size must be 1 or more, got ", options.window_size);
    const Index queries = sizes_of(q)[2], keys = sizes_of(k)[2], clusters = centroids.dimension(1);
    const Index rows = std::min(options.window_size, queries), columns = std::min(options.window_size, keys);
    const auto q_products = detail::centroid_products(device, values_of(q), const_view(centroids));
    const auto k_products =
        options.shared_qk ? q_products : detail::centroid_products(device, values_of(k), const_view(centroids));
    const auto q_members = detail::cluster_members(device, q_products, rows);
    const auto k_members = detail::cluster_members(device, k_products, columns);
    const auto places =
        packed_with(detail::cluster_positions(q_members, rows, 0, true, View<const std::uint8_t, 2>()), q, k, v);
    auto k_positions = detail::cluster_positions(k_members, columns, 0, true, key_mask);
    const auto k_places = packed_with(k_positions, q, k, v);

    const auto cluster = [&](const auto& x, Index size) { return view(x).split(2, size).merge(1); };
    const auto gathered_q = gather(device, q, q_members);
    const auto gathered_k = gather(device, k, k_members);
    const auto gathered_v = gather(device, v, k_members);
    const auto attention = softmax_attention(
        fill_scores(const_view(places), const_view(k_places), options.causal, false, -1e9), {.scale = options.scale});
    const auto mixed =
        attention(device, cluster(gathered_q, rows), cluster(gathered_k, columns), cluster(gathered_v, columns));
    const auto sums = scatter_add(device, view(mixed).split(1, clusters).merge(2), q_members, queries);
    auto out = multiply(device, sums, constant_with(detail::cluster_shares<T>(q_members, queries, 0.01), q, k, v));

    auto loss = scale(device, distance(device, q, q_products), options.shared_qk ? 2 * options.beta : options.beta);
    if (!options.shared_qk) loss = add(device, loss, scale(device, distance(device, k, k_products), options.beta));
    return Result<decltype(out), decltype(loss)>{std::move(out), std::move(loss)};
  }

  // The mean over elements of |x - its nearest centroid|^2.
  template <class D, class X>
  auto distance(const D& device, const X& x, const Tensor<T, 4>& products) const {
    const auto nearest = detail::nearest_centroids(device, products);
    const auto rows = detail::nearest_rows(device, const_view(centroids), nearest, sizes_of(x)[2]);
    const auto squares = pointwise(detail::SquaredDistance(), device, x, constant_with(Tensor<T, 4>(rows), x));
    return single(mean(device, squares, {0, 1, 2, 3}));
  }
};

/// One step of the k-means of routing_attention, by exponential moving averages.
///
///   heed::RoutingCentroidUpdate update{{.decay = 0.999}};
///   auto [centroids, ema_count, ema_sum] = update(x, centroids, ema_count, ema_sum);     // or with a device first
///
/// x (B, H, N, D), normalised as the queries are (of q and k: their concatenation), centroids (H, K, D), ema_count
/// (H, K), ema_sum (H, K, D). With n and s the number and sum of the x whose largest product is with a centroid:
/// ema_count <- decay ema_count + (1 - decay) n, ema_sum likewise with s; centroid = ema_sum / smoothed count, where
/// smoothed = (ema_count + eps) / (total + K eps) total, total the sum of ema_count over K. Ties go to the lower
/// centroid. No gradient. Throws heed::Error for shapes and options that do not fit. Time O(B H N K D).
/// Source: as routing_attention, online_kmeans (transcription).
struct RoutingCentroidUpdate {
  struct Options {
    double decay = 0.999;  ///< 0 to 1
    double eps = 1e-5;
  };
  template <Real T>
  struct Result {
    Tensor<T, 3> centroids;
    Tensor<T, 2> ema_count;
    Tensor<T, 3> ema_sum;
  };

  Options options = {};

  template <TensorLike X, TensorLike C, TensorLike N, TensorLike S>
  auto operator()(const X& x, const C& centroids, const N& ema_count, const S& ema_sum) const {
    return (*this)(DeviceRef(), x, centroids, ema_count, ema_sum);
  }
  template <Device D, TensorLike X, TensorLike C, TensorLike N, TensorLike S>
  auto operator()(const D& device, const X& x_like, const C& centroids_like, const N& ema_count,
                  const S& ema_sum) const {
    using T = ScalarOf<X>;
    constexpr std::string_view kName = "routing_centroid_update";
    const View<const T, 4> x = const_view(x_like);
    const View<const T, 3> centroids = const_view(centroids_like);
    const Index heads = centroids.size(0), count = centroids.size(1);
    require(x.size(1) == heads && x.size(3) == centroids.size(2) && count > 0, kName,
            "centroids must have shape (H, K, D) = (", x.size(1), ", K, ", x.size(3), "), got ",
            shape_text(centroids.sizes));
    require_shape(kName, "ema_count", const_view(ema_count).sizes, std::array<Index, 2>{heads, count});
    require_shape(kName, "ema_sum", const_view(ema_sum).sizes, centroids.sizes);
    require(options.decay >= 0 && options.decay <= 1, kName, "decay must be 0 to 1, got ", options.decay);
    const auto nearest = detail::nearest_centroids(device, detail::centroid_products(device, x, centroids));
    const auto rows = contiguous(device, x.permute({1, 0, 2, 3}));
    const auto flat = const_view(rows).merge(1);
    const auto sums = scatter_add(device, flat, nearest, count);
    Tensor<T, 3> ones(heads, flat.size(1), 1);
    ones.setConstant(T(1));
    const auto numbers = scatter_add(device, ones, nearest, count);

    const auto average = [&](const auto& old, const auto& now) {
      return add(device, scale(device, old, options.decay), scale(device, now, 1 - options.decay));
    };
    Result<T> result;
    result.ema_count = average(const_view(ema_count), const_view(numbers).select(2, 0));
    result.ema_sum = average(const_view(ema_sum), const_view(sums));
    const auto total = sum(device, result.ema_count, {1});
    const auto constant = [](double value) {
      Tensor<T, 2> one(1, 1);
      one.setConstant(T(value));
      return one;
    };
    const auto smoothed = multiply(device,
                                   divide(device, add(device, result.ema_count, constant(options.eps)),
                                          add(device, total, constant(double(count) * options.eps))),
                                   total);
    result.centroids = divide(device, result.ema_sum, const_view(smoothed).split(1, 1));
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
