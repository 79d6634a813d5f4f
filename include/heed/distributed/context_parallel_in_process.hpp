// SPDX-License-Identifier: Apache-2.0
// context_parallel_attention of a whole sequence, its ranks as threads of this process.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/distributed/context_parallel_attention.hpp"
#include "heed/distributed/in_process.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The tokens of a rank along axis 2 of a whole tensor, 0 in the slots of padding; and back, added.
template <class T, int Rank>
Tensor<T, Rank> take_tokens(const View<const T, Rank>& whole, const View<const std::int32_t, 1>& tokens) {
  auto sizes = whole.sizes;
  sizes[2] = tokens.size(0);
  Tensor<T, Rank> part;
  part.resize(sizes);
  part.setZero();
  for (Index slot = 0; slot < tokens.size(0); ++slot)
    if (tokens(slot) >= 0)
      kernel::copy<kernel::Write::kAssign>(DeviceRef(), whole.slice(2, tokens(slot), 1), view(part).slice(2, slot, 1));
  return part;
}
template <class T, int Rank>
void add_tokens(const Tensor<T, Rank>& part, const View<const std::int32_t, 1>& tokens, const View<T, Rank>& whole) {
  if (!whole.data) return;
  for (Index slot = 0; slot < tokens.size(0); ++slot)
    if (tokens(slot) >= 0)
      kernel::copy<kernel::Write::kAdd>(DeviceRef(), const_view(part).slice(2, slot, 1),
                                        whole.slice(2, tokens(slot), 1));
}

}  // namespace detail

/// {out, lse} of whole q (B, H, N, D), k (B, Hk, N, D), v (B, Hk, N, Dv), in the order of the tokens: deals them out to
/// attend.ranks() ranks in this process, a thread each, lets those attend, and puts the result together. For tests, and
/// to try out what will run on many machines; softmax_attention is the fast one on one machine. Of variables it is
/// recorded, and its backward runs the ranks again.
///
/// Gradient: of q, k and v, by ContextParallelAttention::backward on each rank.
template <TensorLike Q, TensorLike K, TensorLike V, VisibilityRule Rule = Everything>
auto context_parallel_attention(const ContextParallelAttention& attend, const Q& q_whole, const K& k_whole,
                                const V& v_whole, const Rule& rule = {}) {
  using T = ScalarOf<Q>;
  const View<const T, 4> q = const_view(q_whole), k = const_view(k_whole), v = const_view(v_whole);
  const auto tokens = attend.tokens(q.size(2));
  require(k.size(2) == q.size(2) && v.size(2) == q.size(2), "context_parallel_attention",
          "q, k and v must have as many tokens, got ", q.size(2), ", ", k.size(2), " and ", v.size(2));
  Tensor<T, 4> out(q.size(0), q.size(1), q.size(2), v.size(3));
  Tensor<T, 3> lse(q.size(0), q.size(1), q.size(2));
  out.setZero();
  lse.setZero();
  run_in_process(int(attend.ranks()), [&](Communicator& comm) {
    const auto held = const_view(tokens).select(0, comm.rank());
    const auto [part, part_lse] = attend(comm, q.size(2), detail::take_tokens(q, held), detail::take_tokens(k, held),
                                         detail::take_tokens(v, held), rule);
    detail::add_tokens(part, held, view(out));
    detail::add_tokens(part_lse, held, view(lse));
  });
  return std::make_tuple(std::move(out), std::move(lse));
}

/// Of variables.
template <Operand Q, Operand K, Operand V, VisibilityRule Rule = Everything>
requires AnyRecorded<Q, K, V>
auto context_parallel_attention(const ContextParallelAttention& attend, const Q& q_operand, const K& k_operand,
                                const V& v_operand, const Rule& rule = {}) {
  auto& tape = tape_of("context_parallel_attention", q_operand, k_operand, v_operand);
  const auto q = tape.operand(q_operand);
  const auto k = tape.operand(k_operand);
  const auto v = tape.operand(v_operand);
  using T = typename decltype(q)::Scalar;
  const auto computed = context_parallel_attention(attend, q.value(), k.value(), v.value(), rule);
  const auto out = tape.template make<4>({q.size(0), q.size(1), q.size(2), v.size(3)});
  const auto lse = tape.template make<3>({q.size(0), q.size(1), q.size(2)});
  kernel::copy<kernel::Write::kAssign>(DeviceRef(), const_view(std::get<0>(computed)), tape.written(out));
  kernel::copy<kernel::Write::kAssign>(DeviceRef(), const_view(std::get<1>(computed)), tape.written(lse));
  tape.on_backward(out, lse, [=, &tape] {
    const auto tokens = attend.tokens(q.size(2));
    const View<const T, 4> d_out = tape.gradient(out);
    const View<const T, 3> d_lse = tape.gradient(lse);
    const View<T, 4> d_q = tape.accumulate(q), d_k = tape.accumulate(k), d_v = tape.accumulate(v);
    run_in_process(int(attend.ranks()), [&](Communicator& comm) {
      const auto held = const_view(tokens).select(0, comm.rank());
      const auto take = [&](const auto& whole) { return detail::take_tokens(whole, held); };
      const auto [q_part, k_part, v_part] =
          attend.backward(comm, q.size(2), take(q.value()), take(k.value()), take(v.value()), take(out.value()),
                          take(lse.value()), take(d_out), take(d_lse), rule);
      detail::add_tokens(q_part, held, d_q);
      detail::add_tokens(k_part, held, d_k);
      detail::add_tokens(v_part, held, d_v);
    });
  });
  return std::make_tuple(out, lse);
}

}  // namespace heed::inline HEED_ISA
