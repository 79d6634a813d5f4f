// SPDX-License-Identifier: Apache-2.0
// The gates of mixture-of-head attention: how much each token takes of each head.
#pragma once

#include <limits>

#include "heed/block/activation.hpp"
#include "heed/block/chosen_mask.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/single.hpp"
#include "heed/block/softmax.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// Gates g (B, N, H) of the heads of every token of x (B, N, C): the first S heads are shared, of the E = H - S others
/// each token uses K.
///
///   p = softmax(x router^T),  T = the K largest of a token as 0 and 1
///   r = K p T / max(sum of p T, eps),  s = S softmax(x shared_router^T), 1 for S = 1
///   w = 2 softmax(x balance^T),  g = [w_1 s, w_2 r];  r alone for S = 0, s alone for K = 0
///
/// and the loss E^2 mean over e of (mean p_e mean T_e), in which T is constant. Gates of unused heads are exactly 0.
/// router.weight (E, C) for K > 0; balance.weight (2, C) for K > 0 and S > 0; shared_router.weight (S, C) for S > 1.
/// K is clamped to E; K = 0 needs S = H. Ties go to the lower head.
template <Real T>
struct MohGates {
  struct Options {
    Index num_heads = 8;
    Index shared_heads = 0;  ///< S, 0 to num_heads
    Index routed_heads = 1;  ///< K, 0 to num_heads - S
  };
  /// Tensors or variables; the loss has one element, or none for K = 0.
  template <class Gates, class Loss>
  struct Result {
    Gates gates;
    Loss load_balance_loss;
  };

  Tensor<T, 2> router = {}, balance = {}, shared_router = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("router.weight", router, heed::optional);
    f("balance.weight", balance, heed::optional);
    f("shared_router.weight", shared_router, heed::optional);
  }

  template <Device D, Operand X>
  auto operator()(std::string_view where, const Options& options, const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MohGates: x is (B, N, C)");
    const Index shared = options.shared_heads, routed = std::min(options.routed_heads, options.num_heads - shared);
    check(where, options, sizes_of(x)[2]);
    using Gates = decltype(share(device, x, router));
    using Loss = decltype(single(sum(device, share(device, x, router), {0, 1, 2})));
    if (routed == 0) return Result<Gates, Loss>{shared_gates(device, x, shared), Loss()};

    const auto p = share(device, x, router);
    const Index experts = options.num_heads - shared;
    const auto chosen = constant_with(chosen_mask<T>(top_k(device, p, routed, TopKOrder::kIndex).indices, experts), x);
    const auto kept = multiply(device, p, chosen);
    const auto total = clamp(device, sum(device, kept, {2}), double(std::numeric_limits<T>::epsilon()),
                             std::numeric_limits<double>::infinity());
    auto gates = scale(device, divide(device, kept, total), double(routed));
    const auto both = multiply(device, mean(device, p, {0, 1}), mean(device, chosen, {0, 1}));
    auto loss = single(sum(device, both, {2}, double(experts)));
    if (shared == 0) return Result<Gates, Loss>{std::move(gates), std::move(loss)};

    const auto weights = scale(device, share(device, x, balance), 2);
    const auto of_shared = multiply(device, shared_gates(device, x, shared), view(weights).slice(2, 0, 1));
    const auto of_routed = multiply(device, gates, view(weights).slice(2, 1, 1));
    return Result<Gates, Loss>{concat<2>(device, of_shared, of_routed), std::move(loss)};
  }

 private:
  template <class D, class X>
  static auto share(const D& device, const X& x, const Tensor<T, 2>& weight) {
    const Tensor<T, 1> no_bias;
    return softmax(device, linear(device, x, weight, no_bias));
  }
  template <class D, class X>
  auto shared_gates(const D& device, const X& x, Index shared) const {
    if (shared > 1) return scale(device, share(device, x, shared_router), double(shared));
    Tensor<T, 3> ones(sizes_of(x)[0], sizes_of(x)[1], shared);
    ones.setConstant(T(1));
    return constant_with(std::move(ones), x);
  }

  void check(std::string_view where, const Options& o, Index channels) const {
    const Index experts = o.num_heads - o.shared_heads;
    require(o.num_heads > 0 && o.shared_heads >= 0 && experts >= 0 && o.routed_heads >= 0, where,
            "num_heads must be 1 or more, shared_heads 0 to num_heads and routed_heads 0 or more, got ", o.num_heads,
            ", ", o.shared_heads, " and ", o.routed_heads);
    require(o.routed_heads > 0 || experts == 0, where, "routed_heads = 0 needs shared_heads = num_heads, got ",
            o.shared_heads, " and ", o.num_heads);
    const bool routed = o.routed_heads > 0 && experts > 0;
    const auto has = [&](std::string_view name, const Tensor<T, 2>& weight, Index rows) {
      require_shape(where, name, const_view(weight).sizes, std::array<Index, 2>{rows, channels});
    };
    if (routed) has("router.weight", router, experts);
    if (routed && o.shared_heads > 0) has("balance.weight", balance, 2);
    if (o.shared_heads > 1) has("shared_router.weight", shared_router, o.shared_heads);
  }
};

namespace detail {
/// What the operators of a mixture of heads give.
template <class Out, class Loss>
struct MohResult {
  Out out;
  Loss load_balance_loss;  ///< of one element, or none where no head is routed
};
}  // namespace detail

}  // namespace heed::inline HEED_ISA
