// SPDX-License-Identifier: Apache-2.0
// window_mix of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/window_mix.hpp"

namespace heed::inline HEED_ISA {

/// window_mix where weights or values is a Var; the other may be a tensor, which is then a parameter.
template <Device D, Operand W, Operand V>
requires AnyRecorded<W, V>
auto window_mix(const D& device, const W& weights_like, const V& values_like, const WindowOptions& options) {
  auto& tape = tape_of("window_mix", weights_like, values_like);
  const auto weights = tape.operand(weights_like);
  const auto values = tape.operand(values_like);
  const auto out = tape.template make<4>(values.sizes());
  window_mix(DeviceRef(device), weights.value(), values.value(), options, tape.written(out));
  tape.on_backward(out, [&tape, weights, values, options, out] {
    window_mix_backward(tape.device(), weights.value(), values.value(), options, tape.gradient(out),
                        tape.accumulate(weights), tape.accumulate(values));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
