// SPDX-License-Identifier: Apache-2.0
// softmax_attention on variables.
#pragma once

#include "heed/attention/backward.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// attend(q, k, v) recorded: {out, lse} as variables. Tensors beside variables are parameters, and so is what the score
/// modifiers read; those and the rule are kept with the views that they hold until the tape is cleared.
template <class Score, class Rule, Device D, Operand Q, Operand K, Operand V>
requires AnyRecorded<Q, K, V>
auto record(const SoftmaxAttention<Score, Rule>& attend, const D& device, const Q& q_operand, const K& k_operand,
            const V& v_operand) {
  auto& tape = tape_of("softmax_attention", q_operand, k_operand, v_operand);
  const auto q = tape.operand(q_operand);
  const auto k = tape.operand(k_operand);
  const auto v = tape.operand(v_operand);
  using T = typename decltype(q)::Scalar;
  constexpr int rank = decltype(q)::rank;
  const auto parameters = [](const Score& score, auto&& f) {
    const auto visit = [&](const ScoreParameter& x) {
      if (x.data && x.element == sizeof(T)) f(View<const T, 4>(static_cast<const T*>(x.data), x.sizes, x.strides));
    };
    detail::visit_parameters(score, visit);
    visit(detail::extra_parameter_of(score));
  };
  parameters(attend.score, [&](const View<const T, 4>& x) { tape.remember(x); });

  auto sizes = q.sizes();
  std::array<Index, std::size_t(rank) - 1> rows;
  std::copy_n(sizes.begin(), rank - 1, rows.begin());
  sizes[std::size_t(rank) - 1] = v.size(rank - 1);
  const auto out = tape.template make<rank>(sizes);
  const auto lse = tape.template make<rank - 1>(rows);
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
  return std::make_tuple(out, lse);
}

}  // namespace heed::inline HEED_ISA
