// SPDX-License-Identifier: Apache-2.0
// squeeze_excitation: channels re-weighted by a gate of their global means.
#pragma once

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x * sigmoid(fc2(relu(fc1(z)))), z the largest or the mean of each channel: in the name of an operator.
template <Device D, Operand X, Real T>
auto squeeze_and_excite(std::string_view where, const D& device, const X& x, bool largest, const Linear<T>& fc1,
                        const Linear<T>& fc2) {
  require_map(where, x);
  require_parameter(where, "fc1.weight", fc1.weight, {-1, sizes_of(x)[1]});
  require_parameter(where, "fc2.weight", fc2.weight, {sizes_of(x)[1], fc1.weight.dimension(0)});
  const auto squeezed = largest ? max(device, x, {2, 3}) : mean(device, x, {2, 3});
  const auto logits = bottleneck(device, squeezed, fc1, fc2);
  return gate(device, x, sigmoid(device, logits));
}

}  // namespace detail

/// out = x * sigmoid(fc2(relu(fc1(z)))), z the mean (or the largest) of each channel over all positions.
///
///   heed::SqueezeExcitation<float> se;              // fc1 (R, C) and fc2 (C, R), R = max(C / reduction, 1)
///   heed::load(se, heed::safetensors("weights.safetensors"), "layer1.se.");
///   auto y = se(x);
///
/// x (B, C, h, w), out as x; fc1.weight (R, C), fc1.bias (R), fc2.weight (C, R), fc2.bias (C), the biases optional; the
/// reduction follows from the shapes. Throws heed::Error for shapes that do not fit and a map without positions.
/// Reads x twice and writes it once; O(B C^2 / reduction) beside that. The same bits for any number of threads.
/// Source: Hu et al. 2018.
template <Real T>
struct SqueezeExcitation {
  enum class Pool { kMean, kMax };
  struct Options {
    Pool pool = Pool::kMean;
  };

  Options options = {};
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("fc1.", fc1, f);
    visit_part("fc2.", fc2, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return detail::squeeze_and_excite("squeeze_excitation", device, x, options.pool == Pool::kMax, fc1, fc2);
  }
};

}  // namespace heed::inline HEED_ISA
