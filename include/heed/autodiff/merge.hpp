// SPDX-License-Identifier: Apache-2.0
// merge_attention_states of variables.
#pragma once

#include "heed/attention/merge.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// merge_attention_states -> {out, lse} where outputs or lses is a Var; states that are variables of their own are put
/// together by concat<0>.
template <Device D, Operand O, Operand L>
requires AnyRecorded<O, L>
auto merge_attention_states(const D& device, const O& outputs_like, const L& lses_like) {
  auto& tape = tape_of("merge_attention_states", outputs_like, lses_like);
  const auto outputs = tape.operand(outputs_like);
  const auto lses = tape.operand(lses_like);
  const auto out = tape.template make<4>({outputs.size(1), outputs.size(2), outputs.size(3), outputs.size(4)});
  const auto lse = tape.template make<3>({outputs.size(1), outputs.size(2), outputs.size(3)});
  merge_attention_states(DeviceRef(device), outputs.value(), lses.value(), into(tape.written(out), tape.written(lse)));
  tape.on_backward(out, lse, [&tape, outputs, lses, out, lse] {
    merge_attention_states_backward(tape.device(), outputs.value(), lses.value(), tape.gradient(out),
                                    tape.gradient(lse), tape.accumulate(outputs), tape.accumulate(lses));
  });
  return std::make_tuple(out, lse);
}

}  // namespace heed::inline HEED_ISA
