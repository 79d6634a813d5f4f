// SPDX-License-Identifier: Apache-2.0
// Adapters for the clusters of mechanisms/sparse_routing.md.
#include "heed/sparse/kmeans_routing_attention.hpp"
#include "heed/sparse/routing_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <class C>
heed::View<const std::uint8_t, 2> mask_or_none(C& c, std::string_view name) {
  return c.has_in(name) ? heed::const_view(c.mask(rank<2>, name)) : heed::View<const std::uint8_t, 2>();
}

void add_routing(Registry& add) {
  add("routing_attention", []<class C>(C& c) {
    heed::RoutingAttention<Scalar<C>> op{{.window_size = c.integer("window_size"),
                                          .causal = c.flag("causal"),
                                          .shared_qk = c.flag("shared_qk"),
                                          .scale = c.number_or_null("scale").value_or(1),
                                          .beta = c.number_or_null("beta").value_or(1e-4)}};
    c.parameters(op);
    const auto put = [&](const auto& result) {
      c.out("out", result.out);
      c.out("clustering_loss", result.clustering_loss);
    };
    const auto mask = mask_or_none(c, "key_mask");
    if (op.options.shared_qk)
      put(op(c.in(rank<4>, "q"), c.in(rank<4>, "v"), {.key_mask = mask}));
    else
      put(op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), {.key_mask = mask}));
  });
  add.without_gradient("routing_centroid_update", []<class C>(C& c) {
    const heed::RoutingCentroidUpdate op{
        {.decay = c.number_or_null("decay").value_or(0.999), .eps = c.number_or_null("eps").value_or(1e-5)}};
    const auto result =
        op(c.in(rank<4>, "x"), c.in(rank<3>, "centroids"), c.in(rank<2>, "ema_count"), c.in(rank<3>, "ema_sum"));
    c.out("centroids_out", result.centroids);
    c.out("ema_count_out", result.ema_count);
    c.out("ema_sum_out", result.ema_sum);
  });
}

void add_kmeans(Registry& add) {
  add("kmeans_routing_attention", []<class C>(C& c) {
    heed::KmeansRoutingAttention<Scalar<C>> op{
        {.window_size = c.integer("window_size"),
         .context_window_size = c.integer_or_null("context_window_size").value_or(c.integer("window_size")),
         .causal = c.flag("causal"),
         .shared_qk = c.flag("shared_qk"),
         .receives_context = c.flag("receives_context"),
         .num_mem_kv = c.integer_or_null("num_mem_kv").value_or(0),
         .commitment = c.number_or_null("commitment").value_or(1e-4)}};
    c.parameters(op);
    const auto result = op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"),
                           {.query_mask = mask_or_none(c, "query_mask"), .key_mask = mask_or_none(c, "key_mask")});
    c.out("out", result.out);
    c.out("aux_loss", result.aux_loss);
  });
  add.without_gradient("kmeans_centroid_update", []<class C>(C& c) {
    const heed::KmeansCentroidUpdate op{{.decay = c.number_or_null("decay").value_or(0.999)}};
    const auto result = op(c.in(rank<4>, "x"), c.in(rank<3>, "centroids"));
    c.out("centroids_out", result.centroids);
    c.out("assignment", result.assignment);
  });
}

void add_sparse_clusters(Registry& add) {
  add_routing(add);
  add_kmeans(add);
}

const Adapters kSparseRoutingClusters{add_sparse_clusters};

}  // namespace

}  // namespace conformance
