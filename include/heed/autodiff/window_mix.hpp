// SPDX-License-Identifier: Apache-2.0
// window_mix of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/window_mix.hpp"

namespace heed::inline HEED_ISA {

/// window_mix into a variable that nothing has read yet; a tensor beside it is a parameter.
template <Device D, Operand W, Operand V, Recorded O>
void window_mix(const D& device, const W& weights_like, const V& values_like, const WindowOptions& options,
                const O& out) {
  auto& tape = tape_of("window_mix", out);
  const auto weights = tape.operand(weights_like);
  const auto values = tape.operand(values_like);
  window_mix(DeviceRef(device), weights.value(), values.value(), options, tape.written(out));
  tape.on_backward(out, [&tape, weights, values, options, out] {
    window_mix_backward(tape.device(), weights.value(), values.value(), options, tape.gradient(out),
                        tape.accumulate(weights), tape.accumulate(values));
  });
}

}  // namespace heed::inline HEED_ISA
