// SPDX-License-Identifier: Apache-2.0
// moh_attention: attention in which every token picks and weighs its own heads.
#pragma once

#include "heed/attention/routed.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/normalize.hpp"
#include "heed/mixture_of_head/moh_gates.hpp"

namespace heed::inline HEED_ISA {

/// out = concat_h(g_h softmax(q_h k_h^T / sqrt(D)) v_h) out.weight^T + out.bias, with the gates g of MohGates.
///
///   heed::MohAttention<float> attend{{.num_heads = 8, .shared_heads = 2, .routed_heads = 2}};
///   auto [y, load_balance_loss] = attend(x);                // or attend(device, x)
///
/// x (B, N, C), out as x; q, k, v = rows of x qkv.weight^T + qkv.bias in this order, head by head. qkv.weight (3 H D,
/// C), qkv.bias (3 H D) or empty, out.weight (C, H D), out.bias (C) or empty; q_norm and k_norm, layer norms over D
/// with eps 1e-5, if qk_norm. load_balance_loss has one element, none for K = 0; training adds 0.01 times its mean over
/// layers.
///
/// A token meets only the keys of the heads whose gate is not 0: of E routed heads, K. The time is that of the
/// projections, O(B N C H D), and of the attention of the used heads, O(B N^2 (S + K) D). Throws heed::Error for shapes
/// and options that do not fit. The same bits for any number of threads.
/// Source: Jin et al., ICML 2025, MoH: Multi-Head Attention as Mixture-of-Head Attention; the authors' MoH-DiT.
template <Real T>
struct MohAttention {
  struct Options {
    Index num_heads = 8;
    Index head_dim = 0;      ///< D; 0: C / num_heads
    Index shared_heads = 0;  ///< S, 0 to num_heads: heads that every token uses
    Index routed_heads = 1;  ///< K: of the others, how many a token uses
    bool qk_norm = false;
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};
  MohGates<T> gates = {};
  LayerNorm<T> q_norm = {}, k_norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkv.", qkv, "out.", out, "", gates);
    visit_part("q_norm.", q_norm, f, heed::optional);
    visit_part("k_norm.", k_norm, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MohAttention: x is (B, N, C)");
    const Index channels = sizes_of(x)[2], heads = options.num_heads, width = check(channels);
    auto routing = gates(kName, {heads, options.shared_heads, options.routed_heads}, device, x);
    const auto& g = routing.gates;
    auto loss = std::move(routing.load_balance_loss);
    const Index batch = sizes_of(x)[0], tokens = sizes_of(x)[1], inner = heads * width;
    auto&& space = intermediates<T>(kName, x);
    const auto packed = space.template make<3>({batch, tokens, 3 * inner});
    const auto mixed = space.template make<3>({batch, tokens, inner});
    const auto gated = space.template make<3>({batch, tokens, inner});
    qkv(device, x, packed);
    const auto part = [&](Index i) { return split_heads(packed.slice(2, i * inner, inner), heads); };
    const Routes routes = route_heads(device, values_of(g), [&](Index) { return tokens; });
    const auto finish = [&](const auto& q, const auto& k) {
      attend_routes(device, routes, q, k, part(2), {}, into(split_heads(mixed, heads)));
      elementwise(Product(), device, mixed.split(2, width), view(g).split(2, 1), gated.split(2, width));
      return out(device, gated);
    };
    using Out = decltype(finish(part(0), part(1)));
    if (!options.qk_norm) return detail::MohResult<Out, decltype(loss)>{finish(part(0), part(1)), std::move(loss)};
    const auto q = q_norm(device, part(0));
    const auto k = k_norm(device, part(1));
    return detail::MohResult<Out, decltype(loss)>{finish(view(q), view(k)), std::move(loss)};
  }

 private:
  static constexpr std::string_view kName = "moh_attention";

  Index check(Index channels) const {
    const Index heads = options.num_heads;
    require(heads > 0 && options.head_dim >= 0 && (options.head_dim > 0 || channels % heads == 0), kName,
            "C = ", channels, " must be a multiple of num_heads = ", heads, ", or head_dim be given");
    const Index width = options.head_dim > 0 ? options.head_dim : channels / heads;
    check_linear(kName, "qkv", qkv, channels, 3 * heads * width);
    check_linear(kName, "out", out, heads * width, channels);
    return width;
  }
};

}  // namespace heed::inline HEED_ISA
