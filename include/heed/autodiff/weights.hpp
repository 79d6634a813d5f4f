// SPDX-License-Identifier: Apache-2.0
// attention_weights of variables.
#pragma once

#include "heed/attention/weights.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// attention_weights where q or k is a Var, into a variable that nothing has read yet.
template <Device D, class Score, class Rule, Operand Q, Operand K, Recorded W>
void attention_weights(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Q& q_like, const K& k_like,
                       const W& target) {
  static_assert(std::same_as<Score, Identity>,
                "heed::attention_weights: the weights of an attention with score modifiers have no gradient; take "
                "their values, attention_weights(attend, q.value(), k.value())");
  auto& tape = tape_of("attention_weights", target);
  const auto q = tape.operand(q_like);
  const auto k = tape.operand(k_like);
  const auto weights = target.template promote<4>();
  attention_weights(DeviceRef(device), attend, q.value(), k.value(), tape.written(target));
  tape.on_backward(weights, [&tape, attend, q, k, weights] {
    attention_weights_backward(tape.device(), attend, q.value().template promote<4>(), k.value().template promote<4>(),
                               weights.value(), tape.gradient(weights), tape.accumulate(q).template promote<4>(),
                               tape.accumulate(k).template promote<4>());
  });
}
template <Device D, class Score, class Rule, Operand Q, Operand K>
requires AnyRecorded<Q, K>
auto attention_weights(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Q& q, const K& k) {
  constexpr int rank = kOperandRank<Q>;
  auto sizes = sizes_of(q);
  sizes[std::size_t(rank) - 1] = sizes_of(k)[std::size_t(rank) - 2];
  const auto weights = tape_of("attention_weights", q, k).template make<rank>(sizes);
  attention_weights(device, attend, q, k, weights);
  return weights;
}

}  // namespace heed::inline HEED_ISA
