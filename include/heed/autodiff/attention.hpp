// SPDX-License-Identifier: Apache-2.0
// softmax_attention on variables.
#pragma once

#include "heed/attention/backward.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

namespace detail {
template <Real T, int Rank>
Var<T, Rank - 1> make_lse(Tape<T>& tape, const Var<T, Rank>& q) {
  std::array<Index, std::size_t(Rank) - 1> rows;
  std::copy_n(q.sizes().begin(), Rank - 1, rows.begin());
  return tape.template make<Rank - 1>(rows);
}
}  // namespace detail

/// attend(q, k, v) recorded into variables that are not yet written; an lse on no tape is made. Tensors beside
/// variables are parameters, and so is what the score modifiers read; those and the rule are kept with the views that
/// they hold until the tape is cleared.
template <class Score, class Rule, Device D, Operand Q, Operand K, Operand V, Recorded O, Recorded L>
requires AnyRecorded<Q, K, V>
void record_into(const SoftmaxAttention<Score, Rule>& attend, const D& device, const Q& q_operand, const K& k_operand,
                 const V& v_operand, const O& out, L lse) {
  auto& tape = tape_of("softmax_attention", q_operand, k_operand, v_operand);
  const auto q = tape.operand(q_operand);
  const auto k = tape.operand(k_operand);
  const auto v = tape.operand(v_operand);
  using T = typename decltype(q)::Scalar;
  const auto parameters = [](const Score& score, auto&& f) {
    const auto visit = [&](const ScoreParameter& x) {
      if (x.data && x.element == sizeof(T)) f(View<const T, 4>(static_cast<const T*>(x.data), x.sizes, x.strides));
    };
    detail::visit_parameters(score, visit);
    visit(detail::extra_parameter_of(score));
  };
  parameters(attend.score, [&](const View<const T, 4>& x) { tape.remember(x); });

  if (!lse.tape()) lse = detail::make_lse(tape, q);
  attend(DeviceRef(device), q.value(), k.value(), v.value(), into(tape.written(out), tape.written(lse)));

  tape.on_backward(out, lse, [=, &tape] {
    constexpr std::size_t kMost = std::size_t(detail::kParametersOf<Score>) + 1;
    std::array<ParameterGradient<T>, kMost> found;
    std::size_t count = 0;
    parameters(attend.score, [&](const View<const T, 4>& x) { found[count++] = {x.data, tape.find(x).data}; });
    softmax_attention_backward(
        tape.device(), attend, q.value(), k.value(), v.value(), out.value(), lse.value(), tape.gradient(out),
        tape.gradient(lse).template promote<3>(),
        AttentionGradients<T>{tape.accumulate(q).template promote<4>(), tape.accumulate(k).template promote<4>(),
                              tape.accumulate(v).template promote<4>(), std::span(found.data(), count)});
  });
}

/// attend(q, k, v) recorded: {out, lse} as variables.
template <class Score, class Rule, Device D, Operand Q, Operand K, Operand V>
requires AnyRecorded<Q, K, V>
auto record(const SoftmaxAttention<Score, Rule>& attend, const D& device, const Q& q_operand, const K& k_operand,
            const V& v_operand) {
  auto& tape = tape_of("softmax_attention", q_operand, k_operand, v_operand);
  const auto q = tape.operand(q_operand);
  constexpr int rank = decltype(q)::rank;
  auto sizes = q.sizes();
  sizes[std::size_t(rank) - 1] = sizes_of(v_operand)[std::size_t(rank) - 1];
  const auto out = tape.template make<rank>(sizes);
  const auto lse = detail::make_lse(tape, q);
  record_into(attend, device, q, k_operand, v_operand, out, lse);
  return std::make_tuple(out, lse);
}

}  // namespace heed::inline HEED_ISA
