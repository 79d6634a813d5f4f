// SPDX-License-Identifier: Apache-2.0
// moh_llama_attention: a mixture of heads without a router, for models that were trained without one.
#pragma once

#include "heed/attention/routed.hpp"
#include "heed/block/chosen_mask.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/rotary.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// Rotary attention with grouped keys in which a token uses the first S heads and, of the others, the K of its longest
/// queries |q_h| (before the rotation), all with gate 1.
///
///   heed::MohLlamaAttention<float> attend{{.num_heads = 32, .num_kv_heads = 8, .shared_heads = 16, .routed_heads =
///   8}}; auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x; q.weight and out.weight (C, C), k.weight and v.weight (Hk D, C), D = C / num_heads, biases or
/// none. Positions 0, 1, ..; scores / sqrt(D). The authors divide the lengths by their standard deviation, which does
/// not change their order. Ties go to the lower head; K is clamped to H - S. The choice has no gradient. Only the used
/// (token, head) pairs are attended: time O(B N C^2 + B N^2 (S + K) D). Throws heed::Error for shapes and options that
/// do not fit. Source: Jin et al., ICML 2025; the authors' MoH-LLaMA3, with S = H / 2 and K = H / 4.
template <Real T>
struct MohLlamaAttention {
  struct Options {
    Index num_heads = 32;
    Index num_kv_heads = 8;   ///< Hk, divides num_heads
    Index shared_heads = 16;  ///< S, 0 to num_heads
    Index routed_heads = 8;   ///< K, 0 or more
    double rope_base = 10000;
    bool causal = true;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MohLlamaAttention: x is (B, N, C)");
    check(sizes_of(x)[2]);
    const Index batch = sizes_of(x)[0], tokens = sizes_of(x)[1], channels = sizes_of(x)[2];
    auto&& space = intermediates<T>(kName, x);
    const auto make = [&](Index width) { return space.template make<3>({batch, tokens, width}); };
    const Index kv_channels = channels / options.num_heads * options.num_kv_heads;
    const auto q_flat = make(channels), k_flat = make(kv_channels), v_flat = make(kv_channels);
    q(device, x, q_flat);
    k(device, x, k_flat);
    v(device, x, v_flat);
    const auto used = used_heads(device, values_of(split_heads(q_flat, options.num_heads)));
    const Routes routes =
        route_heads(device, const_view(used), [&](Index i) { return options.causal ? i + 1 : tokens; });

    Tensor<std::int32_t, 2> positions(1, tokens);
    for (Index i = 0; i < tokens; ++i) positions(0, i) = std::int32_t(i);
    const auto turn = [&](const auto& flat, Index heads) {
      const auto turned = make(sizes_of(flat)[2]);
      rotate(device, parameter_with(split_heads(flat, heads), x), const_view(positions),
             RotaryOptions{.base = options.rope_base}, split_heads(turned, heads), kName);
      return turned;
    };
    const auto q_turned = turn(q_flat, options.num_heads), k_turned = turn(k_flat, options.num_kv_heads);
    const auto mixed = make(channels);
    attend_routes(device, routes, split_heads(q_turned, options.num_heads), split_heads(k_turned, options.num_kv_heads),
                  split_heads(v_flat, options.num_kv_heads), {}, into(split_heads(mixed, options.num_heads)));
    return out(device, mixed);
  }

 private:
  static constexpr std::string_view kName = "moh_llama_attention";

  // (B, N, H), 1 where the token uses the head.
  template <class D>
  Tensor<T, 3> used_heads(const D& device, const View<const T, 4>& heads) const {
    const Index shared = options.shared_heads, routed = options.num_heads - shared;
    Tensor<T, 3> first(1, 1, shared);
    first.setConstant(T(1));
    const auto by_token = heads.slice(1, shared, routed).permute({0, 2, 1, 3});
    ScratchTensors<T> space;
    const auto products = space.template make<4>(by_token.sizes);
    elementwise(Product(), device, by_token, by_token, products);
    const auto squares = sum(device, products, {3});
    const auto best = top_k(device, const_view(squares).select(3, 0), std::min(options.routed_heads, routed));
    const auto chosen = chosen_mask<T>(best.indices, routed);
    Tensor<T, 3> used(heads.size(0), heads.size(2), options.num_heads);
    concat_into<2>(device, view(used).slice(2, shared, routed), chosen);
    if (shared > 0) concat_into<2>(device, view(used), first, chosen);
    return used;
  }

  void check(Index channels) const {
    const Index heads = options.num_heads, kv_heads = options.num_kv_heads;
    require(heads > 0 && channels % heads == 0 && channels / heads % 2 == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads, ", by an even number");
    require(kv_heads > 0 && heads % kv_heads == 0, kName, "num_heads = ", heads,
            " must be a multiple of num_kv_heads = ", kv_heads);
    require(options.shared_heads >= 0 && options.shared_heads <= heads && options.routed_heads >= 0, kName,
            "shared_heads must be 0 to num_heads and routed_heads 0 or more, got ", options.shared_heads, " and ",
            options.routed_heads);
    const Index width = channels / heads;
    check_linear(kName, "q", q, channels, channels);
    check_linear(kName, "k", k, channels, kv_heads * width);
    check_linear(kName, "v", v, channels, kv_heads * width);
    check_linear(kName, "out", out, channels, channels);
  }
};

}  // namespace heed::inline HEED_ISA
