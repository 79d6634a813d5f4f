// SPDX-License-Identifier: Apache-2.0
// phase_features of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/phase_features.hpp"

namespace heed::inline HEED_ISA {

/// phase_features into a variable that nothing has read yet; a tensor beside it is a parameter.
template <Device D, Operand X, Operand P, Recorded O>
void phase_features(const D& device, const X& x_like, const P& theta_like, Index position, const O& out) {
  auto& tape = tape_of("phase_features", out);
  const auto x = tape.operand(x_like);
  const auto theta = tape.operand(theta_like);
  phase_features(DeviceRef(device), x.value(), theta.value(), position, tape.written(out));
  tape.on_backward(out, [&tape, x, theta, position, out] {
    phase_features_backward(tape.device(), x.value(), theta.value(), position, tape.gradient(out), tape.accumulate(x),
                            tape.accumulate(theta));
  });
}

}  // namespace heed::inline HEED_ISA
