// SPDX-License-Identifier: Apache-2.0
// attend_routes: softmax attention of every query to the runs of keys that a schedule gives it, and to no others.
#pragma once

#include "heed/attention/mask/key_ranges.hpp"
#include "heed/attention/merge_routes.hpp"
#include "heed/attention/schedule/route_plan.hpp"
#include "heed/block/gather.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// What every pair of the routes got: its output and log-sum-exp, (B, H, P, Dv) and (B, H, P), in `out` and `lse`.
template <Device D, class Attention, Operand Q, Operand K, Operand V, class S, Operand O, Operand L>
void attend_pairs(const D& device, const Attention& attention, const Routes& routes, const Q& q, const K& k, const V& v,
                  S& space, const O& out, const L& lse) {
  auto sizes = sizes_of(q);
  sizes[2] = routes.query.dimension(2);
  const auto rows = space.template make<4>(sizes);
  gather(device, parameter_with(q, k, v), routes.query, rows);
  attention(device, rows, k, v, into(out, lse));
}

// Into out (B, H, N, Dv) by `attention`, whose rule and score know the pairs as its queries. A variable keeps what each
// pair got, for its gradient; tensors, but for a few queries, run along the routes and keep one state for each query.
template <Device D, class Attention, Operand Q, Operand K, Operand V, Operand O>
void attend_along(const D& device, const Attention& attention, const Routes& routes, const Q& q, const K& k, const V& v,
                  const O& out) {
  using T = OperandScalar<Q>;
  const auto sizes = sizes_of(q);
  const Index pairs = routes.query.dimension(2), width = sizes_of(v)[3];
  if constexpr (!AnyRecorded<Q, K, V>)
    if (sizes[2] > kFewQueries<T>)
      return RouteAccess::run(device, attention, routes, const_view(q), const_view(k), const_view(v), out);
  auto&& space = intermediates<T>("attend_routes", q, k, v);
  const auto states = space.template make<4>({sizes[0], sizes[1], pairs, width});
  const auto lses = space.template make<3>({sizes[0], sizes[1], pairs});
  attend_pairs(device, attention, routes, q, k, v, space, states, lses);
  if constexpr (AnyRecorded<Q, K, V>) {
    if (routes.place.dimension(3) == 1) return gather(device, states, const_view(routes.place).select(3, 0), out);
    merge_routes(device, states, lses, const_view(routes.place), out);
  } else {
    merge_routes(device, const_view(states), const_view(lses), const_view(routes.place), out);
  }
}

}  // namespace detail

/// softmax(scale q k^T) v of each query over the keys of all its pairs, which must not overlap: q (B, H, N, D), k
/// (B, Hk, M, D), v (B, Hk, M, Dv), routes of B, H and N, result (B, H, N, Dv), a tensor or a variable. Queries of the
/// same keys run over them together, read where they are, and add to one state of each query: the time is that of
/// softmax_attention over the pairs, O(pairs keys (D + Dv)), and the memory O(N Dv) a thread. Variables keep q and a
/// state for each pair. A query without a pair gets 0. Errors and threads as softmax_attention.
///
/// Gradient: of the blocks that it is made of, for q, k and v.
template <Device D, Operand Q, Operand K, Operand V>
auto attend_routes(const D& device, const Routes& routes, const Q& q, const K& k, const V& v,
                   const SoftmaxOptions& options = {}) {
  const auto begin = packed_with(routes.begin, q, k, v), end = packed_with(routes.end, q, k, v);
  return attend_routes(device, softmax_attention(key_ranges(begin, end), options), routes, q, k, v);
}
/// The same by an attention of any score and rule, which are told of pairs p as queries: the rule shows each pair keys
/// of its run alone. A query adds up what all its pairs got, a key that two of them read counts twice.
///
/// Gradient: of the blocks that it is made of, for q, k and v.
template <Device D, class Score, class Rule, Operand Q, Operand K, Operand V>
auto attend_routes(const D& device, const SoftmaxAttention<Score, Rule>& attention, const Routes& routes, const Q& q,
                   const K& k, const V& v) {
  const auto sizes = sizes_of(q);
  auto out = make_output<OperandScalar<Q>, 4>("attend_routes", {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q, k, v);
  detail::attend_along(device, attention, routes, q, k, v, view(out));
  return out;
}

/// The same into(out).
template <Device D, class Score, class Rule, Operand Q, Operand K, Operand V, AttentionTarget Target>
void attend_routes(const D& device, const SoftmaxAttention<Score, Rule>& attention, const Routes& routes, const Q& q,
                   const K& k, const V& v, const Target& target) {
  detail::attend_along(device, attention, routes, q, k, v, target.out);
}
template <Device D, Operand Q, Operand K, Operand V, AttentionTarget Target>
void attend_routes(const D& device, const Routes& routes, const Q& q, const K& k, const V& v,
                   const SoftmaxOptions& options, const Target& target) {
  const auto begin = packed_with(routes.begin, q, k, v), end = packed_with(routes.end, q, k, v);
  attend_routes(device, softmax_attention(key_ranges(begin, end), options), routes, q, k, v, target);
}

/// The same for routes of one pair per query at the most (route_heads), as channels (B, N, H Dv) for an output
/// projection.
///
/// Gradient: of the blocks that it is made of, for q, k and v.
template <Device D, Operand Q, Operand K, Operand V>
auto attend_routed_heads(const D& device, const Routes& routes, const Q& q, const K& k, const V& v,
                         const SoftmaxOptions& options = {}) {
  const auto sizes = sizes_of(q);
  const Index width = sizes_of(v)[3];
  auto out = make_output<OperandScalar<Q>, 3>("attend_routed_heads", {sizes[0], sizes[2], sizes[1] * width}, q, k, v);
  const auto begin = packed_with(routes.begin, q, k, v), end = packed_with(routes.end, q, k, v);
  detail::attend_along(device, softmax_attention(key_ranges(begin, end), options), routes, q, k, v,
                       view(out).split(2, width).permute({0, 2, 1, 3}));
  return out;
}

}  // namespace heed::inline HEED_ISA
