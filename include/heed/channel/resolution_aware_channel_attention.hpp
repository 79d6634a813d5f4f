// SPDX-License-Identifier: Apache-2.0
// resolution_aware_channel_attention: squeeze and excitation whose squeeze depends on the sensor.
#pragma once

#include "heed/channel/squeeze_excitation.hpp"

namespace heed::inline HEED_ISA {

/// out = x * sigmoid(fc2(relu(fc1(z)))), z the largest of each channel over all positions for a coarse resolution, the
/// mean for a fine one: SqueezeExcitation without biases.
///
/// x (B, C, h, w), C spectral bands, out as x; fc1.weight (R, C), fc2.weight (C, R), R = max(C / reduction, 1) from the
/// shapes (the authors' reduction: 16 for coarse data, 8 for fine). Errors and cost as of SqueezeExcitation.
/// Source: DFYP 2025, spectral channel attention.
template <Real T>
struct ResolutionAwareChannelAttention {
  enum class Resolution { kCoarse, kFine };
  struct Options {
    Resolution resolution = Resolution::kCoarse;
  };

  Options options = {};
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "fc1.", fc1, "fc2.", fc2);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    const bool coarse = options.resolution == Resolution::kCoarse;
    return detail::squeeze_and_excite("resolution_aware_channel_attention", device, x, coarse, fc1, fc2);
  }
};

}  // namespace heed::inline HEED_ISA
