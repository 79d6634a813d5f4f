// SPDX-License-Identifier: Apache-2.0
// linear_attention of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/scan/linear_attention.hpp"

namespace heed::inline HEED_ISA {

/// linear_attention into the variables out and end, which nothing has read yet; end is empty where it is not wanted.
/// Tensors among q, k, v and state are parameters.
template <Device D, FeatureMap Map, Operand Q, Operand K, Operand V, Operand S, Recorded O, Recorded E>
void linear_attention(const D& device, const Map& map, const Q& q_like, const K& k_like, const V& v_like,
                      const S& state_like, const LinearAttentionOptions& options, const O& out, const E& end) {
  auto& tape = tape_of("linear_attention", out);
  const auto q = tape.operand(q_like), k = tape.operand(k_like), v = tape.operand(v_like);
  const auto state = tape.operand(state_like);
  const bool has_end = end.count() > 0;
  using T = typename O::Scalar;
  linear_attention(DeviceRef(device), map, q.value(), k.value(), v.value(), state.value(), options, tape.written(out),
                   has_end ? tape.written(end) : View<T, 4>());
  const auto backward = [&tape, map, q, k, v, state, options, out, end, has_end] {
    linear_attention_backward(tape.device(), map, q.value(), k.value(), v.value(), state.value(), options,
                              tape.gradient(out), has_end ? tape.gradient(end) : View<const T, 4>(), tape.accumulate(q),
                              tape.accumulate(k), tape.accumulate(v), tape.accumulate(state));
  };
  if (has_end) {
    tape.on_backward(out, end, backward);
  } else {
    tape.on_backward(out, backward);
  }
}
/// Without a state before or after.
template <Device D, FeatureMap Map, Operand Q, Operand K, Operand V>
requires AnyRecorded<Q, K, V>
auto linear_attention(const D& device, const Map& map, const Q& q, const K& k, const V& v,
                      const LinearAttentionOptions& options = {}) {
  auto& tape = tape_of("linear_attention", q, k, v);
  const auto sizes = sizes_of(q);
  const auto out = tape.template make<4>({sizes[0], sizes[1], sizes[2], sizes_of(v)[3]});
  linear_attention(device, map, q, k, v, View<const OperandScalar<Q>, 4>(), options, out,
                   std::remove_const_t<decltype(out)>());
  return out;
}

}  // namespace heed::inline HEED_ISA
