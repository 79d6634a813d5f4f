// SPDX-License-Identifier: Apache-2.0
// routed_head_attention: plain attention whose heads are gated by a router.
#pragma once

#include "heed/attention/routed.hpp"
#include "heed/block/heads.hpp"
#include "heed/mixture_of_head/head_routing.hpp"

namespace heed::inline HEED_ISA {

/// out_n = sum over h of gate_{n, h} (softmax(q_h k_h^T / sqrt(D)) v_h)_n out_h^T, with the gates of HeadRouting: only
/// queries are routed, every token is a key of every head.
///
///   heed::RoutedHeadAttention<float> attend{{.num_heads = 8, .head_dim = 64, .routing = {.top_k = 2}}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x; q.weight, k.weight and v.weight (H D, C), out.weight (C, H D), router.weight (H, C), no
/// biases. `capacity` is per batch element. A token meets only the keys of the heads whose gate is not 0: time O(B N C
/// H D) for the projections and O(used pairs N D) for the attention. Throws heed::Error for shapes and options that do
/// not fit. The same bits for any number of threads. The common core of mixtures of heads (transcription).
template <Real T>
struct RoutedHeadAttention {
  struct Options {
    Index num_heads = 8;
    Index head_dim = 64;
    bool causal = false;
    HeadRoutingOptions routing = {};
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 2> router = {};  ///< router.weight, (H, C)

  template <class F>
  void for_each_parameter(F&& f) {
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    f("v.weight", v.weight);
    f("out.weight", out.weight);
    f("router.weight", router);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::RoutedHeadAttention: x is (B, N, C)");
    const Index channels = sizes_of(x)[2], tokens = sizes_of(x)[1], heads = options.num_heads;
    check(channels);
    const auto gates = detail::route_tokens(device, options.routing, x, router);
    const Routes routes =
        route_heads(device, values_of(gates), [&](Index i) { return options.causal ? i + 1 : tokens; });
    const Index inner = heads * options.head_dim;
    auto&& space = intermediates<T>(kName, x);
    const auto make = [&] { return space.template make<3>({sizes_of(x)[0], tokens, inner}); };
    const auto q_flat = make(), k_flat = make(), v_flat = make(), mixed = make(), gated = make();
    q(device, x, q_flat);
    k(device, x, k_flat);
    v(device, x, v_flat);
    attend_routes(device, routes, split_heads(q_flat, heads), split_heads(k_flat, heads), split_heads(v_flat, heads),
                  {}, into(split_heads(mixed, heads)));
    elementwise(Product(), device, mixed.split(2, options.head_dim), view(gates).split(2, 1),
                gated.split(2, options.head_dim));
    return out(device, gated);
  }

 private:
  static constexpr std::string_view kName = "routed_head_attention";

  void check(Index channels) const {
    const Index heads = options.num_heads, inner = heads * options.head_dim;
    require(heads > 0 && options.head_dim > 0, kName, "num_heads and head_dim must be 1 or more, got ", heads, " and ",
            options.head_dim);
    check_linears(kName, channels, inner, "q", q, "k", k, "v", v);
    check_linear(kName, "out", out, inner, channels);
    require_shape(kName, "router.weight", const_view(router).sizes, std::array<Index, 2>{heads, channels});
  }
};

}  // namespace heed::inline HEED_ISA
