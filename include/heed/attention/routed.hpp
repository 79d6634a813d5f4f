// SPDX-License-Identifier: Apache-2.0
// attend_routes: softmax attention of every query to the runs of keys that a schedule gives it, and to no others.
#pragma once

#include "heed/attention/mask/key_ranges.hpp"
#include "heed/attention/merge_routes.hpp"
#include "heed/attention/schedule/routes.hpp"
#include "heed/block/gather.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// What every pair of the routes got: its output and log-sum-exp, (B, H, P, Dv) and (B, H, P), in `out` and `lse`.
template <Device D, Operand Q, Operand K, Operand V, class S, Operand O, Operand L>
void attend_pairs(const D& device, const Routes& routes, const Q& q, const K& k, const V& v,
                  const SoftmaxOptions& options, S& space, const O& out, const L& lse) {
  auto sizes = sizes_of(q);
  sizes[2] = routes.query.dimension(2);
  const auto rows = space.template make<4>(sizes);
  gather(device, parameter_with(q, k, v), routes.query, rows);
  const auto begin = packed_with(routes.begin, q, k, v), end = packed_with(routes.end, q, k, v);
  softmax_attention(key_ranges(begin, end), options)(device, rows, k, v, into(out, lse));
}

}  // namespace detail

/// softmax(scale q k^T) v of each query over the keys of all its pairs, which must not overlap: q (B, H, N, D), k
/// (B, Hk, M, D), v (B, Hk, M, Dv), routes of B, H and N, result (B, H, N, Dv), a tensor or a variable. Queries of the
/// same keys run over them together, so that the time is that of softmax_attention over the pairs, O(pairs keys (D +
/// Dv)), plus O(B H P (D + Dv)) for the copies. A query without a pair gets 0. Errors and threads as softmax_attention.
///
/// Gradient: of the blocks that it is made of, for q, k and v.
template <Device D, Operand Q, Operand K, Operand V>
auto attend_routes(const D& device, const Routes& routes, const Q& q, const K& k, const V& v,
                   const SoftmaxOptions& options = {}) {
  using T = OperandScalar<Q>;
  const auto sizes = sizes_of(q);
  const Index pairs = routes.query.dimension(2), width = sizes_of(v)[3];
  auto out = make_output<T, 4>("attend_routes", {sizes[0], sizes[1], sizes[2], width}, q, k, v);
  auto&& space = intermediates<T>("attend_routes", q, k, v);
  const auto states = space.template make<4>({sizes[0], sizes[1], pairs, width});
  const auto lses = space.template make<3>({sizes[0], sizes[1], pairs});
  detail::attend_pairs(device, routes, q, k, v, options, space, states, lses);
  if constexpr (AnyRecorded<Q, K, V>) {
    merge_routes(device, states, lses, const_view(routes.place), out);
  } else {
    merge_routes(device, const_view(states), const_view(lses), const_view(routes.place), view(out));
  }
  return out;
}

/// The same for routes of one pair per query at the most (route_heads), with nothing to merge, as channels (B, N, H Dv)
/// for an output projection.
///
/// Gradient: of the blocks that it is made of, for q, k and v.
template <Device D, Operand Q, Operand K, Operand V>
auto attend_routed_heads(const D& device, const Routes& routes, const Q& q, const K& k, const V& v,
                         const SoftmaxOptions& options = {}) {
  using T = OperandScalar<Q>;
  const auto sizes = sizes_of(q);
  const Index pairs = routes.query.dimension(2), width = sizes_of(v)[3];
  auto out = make_output<T, 3>("attend_routed_heads", {sizes[0], sizes[2], sizes[1] * width}, q, k, v);
  auto&& space = intermediates<T>("attend_routed_heads", q, k, v);
  const auto states = space.template make<4>({sizes[0], sizes[1], pairs, width});
  const auto lses = space.template make<3>({sizes[0], sizes[1], pairs});
  detail::attend_pairs(device, routes, q, k, v, options, space, states, lses);
  gather(device, states, const_view(routes.place).select(3, 0), view(out).split(2, width).permute({0, 2, 1, 3}));
  return out;
}

}  // namespace heed::inline HEED_ISA
