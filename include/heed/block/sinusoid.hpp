// SPDX-License-Identifier: Apache-2.0
// sinusoidal_positions: the fixed position code of sines and cosines.
#pragma once

#include <cmath>

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// (tokens, channels): sin(t base^(-2j / channels)) in channel 2j and the cosine of the same in 2j + 1, of token t.
/// Computed in double. Source: Vaswani et al. 2017, section 3.5.
///
/// No gradient: the code is fixed.
template <Real T>
Tensor<T, 2> sinusoidal_positions(Index tokens, Index channels, double base = 10000) {
  Tensor<T, 2> code(tokens, channels);
  for (Index c = 0; c < channels; ++c) {
    const double frequency = std::pow(base, -double(c - c % 2) / double(channels));
    for (Index t = 0; t < tokens; ++t) {
      const double angle = double(t) * frequency;
      code(t, c) = T(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return code;
}

}  // namespace heed::inline HEED_ISA
