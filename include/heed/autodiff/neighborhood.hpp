// SPDX-License-Identifier: Apache-2.0
// attend_neighborhoods on variables.
#pragma once

#include "heed/attention/neighborhood/neighborhood.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// attend_neighborhoods recorded into variables that are not yet written; tensors beside variables are parameters.
template <Device D, Operand Q, Operand K, Operand V, Operand E, Operand F, TensorLike R, Real T>
void attend_neighborhoods(const D& device, const Neighborhoods& options, const Q& q_operand, const K& k_operand,
                          const V& v_operand, const E& k_extra_operand, const F& v_extra_operand, const R& table,
                          const Var<T, 6>& out, const Var<T, 5>& lse) {
  auto& tape = tape_of("neighborhood_attention", out);
  const auto q = tape.operand(q_operand), k = tape.operand(k_operand), v = tape.operand(v_operand);
  const auto k_extra = tape.operand(k_extra_operand), v_extra = tape.operand(v_extra_operand);
  const auto rpb = tape.operand(table);
  const auto values = [=] {
    return NeighborhoodTensors<const T>{q.value(), k.value(), v.value(), k_extra.value(), v_extra.value(), rpb.value()};
  };
  attend_neighborhoods(DeviceRef(device), options, values(), tape.written(out), tape.written(lse));
  tape.on_backward(out, lse, [=, &tape] {
    attend_neighborhoods_backward(
        tape.device(), options, values(), out.value(), lse.value(), tape.gradient(out), tape.gradient(lse),
        NeighborhoodTensors<T>{tape.accumulate(q), tape.accumulate(k), tape.accumulate(v), tape.accumulate(k_extra),
                               tape.accumulate(v_extra), tape.accumulate(rpb)});
  });
}

}  // namespace heed::inline HEED_ISA
