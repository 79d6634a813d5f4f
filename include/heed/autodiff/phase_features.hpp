// SPDX-License-Identifier: Apache-2.0
// phase_features of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/phase_features.hpp"

namespace heed::inline HEED_ISA {

/// A tensor beside a variable is a parameter.
template <Device D, Operand X, Operand P>
requires AnyRecorded<X, P>
auto phase_features(const D& device, const X& x_like, const P& theta_like, Index position = 0) {
  auto& tape = tape_of("phase_features", x_like, theta_like);
  const auto x = tape.operand(x_like);
  const auto theta = tape.operand(theta_like);
  const auto out = tape.template make<4>(detail::phase_sizes(x.sizes()));
  phase_features(DeviceRef(device), x.value(), theta.value(), position, tape.written(out));
  tape.on_backward(out, [&tape, x, theta, position, out] {
    phase_features_backward(tape.device(), x.value(), theta.value(), position, tape.gradient(out), tape.accumulate(x),
                            tape.accumulate(theta));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
