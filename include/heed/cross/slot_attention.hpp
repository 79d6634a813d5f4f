// SPDX-License-Identifier: Apache-2.0
// slot_attention: slots compete for inputs, several times over.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/repeat.hpp"
#include "heed/block/softmax_axis.hpp"

namespace heed::inline HEED_ISA {

/// From s = slots on, `iters` times: a = softmax over the slots of q(norm_slots(s)) K^T / sqrt(C), plus eps, every
/// slot's row then divided by its sum over the inputs; s += a V; s += mlp(norm_ff(s)). out = out(s). K = k(norm_input(
/// x)), V = v(norm_input(x)).
///
///   heed::SlotAttention<float> attend{{.iters = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out (B, S, O); slots (S, C), the same for all items; q, k, v: C to C, mlp: fc1 C to F, gelu, fc2 F to
/// C, out: C to O; norms (C), of eps 1e-5. Only the last iteration is differentiated: what goes into it has the
/// gradient of the slots themselves. With one slot a is a plain mean. Throws heed::Error for shapes and options that do
/// not fit. O(iters B S N C), memory O(B S N). The same bits for any number of threads. Source: Locatello et al. 2020,
/// with a sum in place of the recurrent unit, as in the projector of Zhang et al. 2024
/// (InternLM-XComposer2.5-OmniLive).
template <Real T>
struct SlotAttention {
  struct Options {
    Index iters = 3;
    double eps = 1e-4;
  };

  Options options = {};
  Tensor<T, 2> slots = {};  ///< (S, C)
  LayerNorm<T> norm_input = {}, norm_slots = {}, norm_ff = {};
  Linear<T> q = {}, k = {}, v = {};
  Mlp<T> mlp = {};
  Linear<T> out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("slots", slots);
    visit_parts(f, "norm_input.", norm_input, "norm_slots.", norm_slots, "norm_ff.", norm_ff, "q.", q, "k.", k);
    visit_parts(f, "v.", v, "mlp.", mlp, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::SlotAttention: x is (B, N, C)");
    constexpr std::string_view where = "slot_attention";
    require(options.iters >= 1, where, "iters must be 1 or more, got ", options.iters);
    require(std::isfinite(options.eps) && options.eps >= 0, where, "eps must be 0 or positive and finite, got ",
            options.eps);
    const auto inputs = norm_input(device, x);
    const auto keys = k(device, inputs);
    const auto values = v(device, inputs);
    const auto first = repeat_for(device, slots, x);
    auto s = step(device, first, keys, values);
    for (Index i = 1; i < options.iters; ++i) {
      // The values of s with the gradient of the first slots.
      s = add(device, detached(s), subtract(device, first, detached(first)));
      s = step(device, s, keys, values);
    }
    return out(device, s);
  }

 private:
  template <class D, Operand S, Operand K, Operand V>
  auto step(const D& device, const S& s, const K& keys, const V& values) const {
    const auto queries = scale(device, q(device, norm_slots(device, s)), 1 / std::sqrt(double(sizes_of(keys)[2])));
    const auto shares = softmax<1>(device, matmul(device, queries, view(keys).permute({0, 2, 1})));
    Tensor<T, 1> least(1);
    least(0) = T(options.eps);
    const auto floored = add(device, shares, constant_with(std::move(least), s));
    const auto weights = divide(device, floored, sum(device, floored, {2}));
    const auto moved = add(device, s, matmul(device, weights, values));
    return add(device, moved, mlp(device, Gelu(), norm_ff(device, moved)));
  }
};

}  // namespace heed::inline HEED_ISA
