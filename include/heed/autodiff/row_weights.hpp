// SPDX-License-Identifier: Apache-2.0
// row_weighted_attention of variables.
#pragma once

#include "heed/attention/normalizer/row_weights.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// row_weighted_attention where q, k, v or the parameter is a Var, into the variable `out`, which nothing has read yet.
/// The tape keeps a copy of the mask.
template <class N, Device D, Operand P, Operand Q, Operand K, Operand V, Recorded O>
void row_weighted_attention(const D& device, const N& normalizer, const P& parameter_like, const Q& q_like,
                            const K& k_like, const V& v_like, RowAttentionOptions options, const O& out) {
  auto& tape = tape_of("row_weighted_attention", out);
  const auto parameter = tape.operand(parameter_like);
  const auto q = tape.operand(q_like), k = tape.operand(k_like), v = tape.operand(v_like);
  if (options.key_mask.data) options.key_mask = tape.keep(options.key_mask);
  row_weighted_attention(DeviceRef(device), normalizer, parameter.value(), q.value(), k.value(), v.value(), options,
                         tape.written(out));
  tape.on_backward(out, [&tape, normalizer, parameter, q, k, v, options, out] {
    row_weighted_attention_backward(tape.device(), normalizer, parameter.value(), q.value(), k.value(), v.value(),
                                    options, tape.gradient(out), tape.accumulate(parameter), tape.accumulate(q),
                                    tape.accumulate(k), tape.accumulate(v));
  });
}

}  // namespace heed::inline HEED_ISA
