// SPDX-License-Identifier: Apache-2.0
// landmark_softmax_attention of variables.
#pragma once

#include "heed/attention/normalizer/landmark.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// landmark_softmax_attention where q, k or v is a Var, into the variable `out`, which nothing has read yet. The tape
/// keeps a copy of is_landmark.
template <Device D, Operand Q, Operand K, Operand V, Recorded O>
void landmark_softmax_attention(const D& device, const Q& q_like, const K& k_like, const V& v_like,
                                const View<const std::uint8_t, 2>& is_landmark, double scale, const O& out) {
  auto& tape = tape_of("landmark_attention", out);
  const auto q = tape.operand(q_like), k = tape.operand(k_like), v = tape.operand(v_like);
  const auto marks = tape.keep(is_landmark);
  landmark_softmax_attention(DeviceRef(device), q.value(), k.value(), v.value(), marks, scale, tape.written(out));
  tape.on_backward(out, [&tape, q, k, v, marks, scale, out] {
    landmark_softmax_attention_backward(tape.device(), q.value(), k.value(), v.value(), marks, scale,
                                        tape.gradient(out), tape.accumulate(q), tape.accumulate(k), tape.accumulate(v));
  });
}

}  // namespace heed::inline HEED_ISA
