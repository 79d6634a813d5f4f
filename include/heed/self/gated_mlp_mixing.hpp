// SPDX-License-Identifier: Apache-2.0
// gated_mlp_mixing: a gated MLP in the place of attention, without any mixing of tokens.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// out = (SiLU(x gate.weight^T) * (x up.weight^T)) down.weight^T, token by token.
///
///   heed::GatedMlpMixing<float> mix;
///   heed::load(mix, heed::safetensors("weights.safetensors"), "layers.0.mix.");
///   auto y = mix(x);                                        // or mix(device, x)
///
/// x (B, N, C), out as x; gate.weight and up.weight (R, C), down.weight (C, R). R = 4 C / 3 has as many parameters as
/// attention. Biases are none in the paper, and added where they are given. Throws heed::Error for shapes that do not
/// fit. Time O(B N C R). Source: Xue, Moosavi and Aletras 2025, "Deconstructing Attention", eq. 4 and 5
/// (transcription).
template <Real T>
struct GatedMlpMixing {
  Linear<T> gate = {}, up = {}, down = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "gate.", gate, "up.", up, "down.", down);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::GatedMlpMixing: x is (B, N, C)");
    const Index channels = sizes_of(x)[2], inner = gate.weight.dimension(0);
    check_linear(kName, "gate", gate, channels, inner);
    check_linear(kName, "up", up, channels, inner);
    check_linear(kName, "down", down, inner, channels);
    return down(device, multiply(device, silu(device, gate(device, x)), up(device, x)));
  }

 private:
  static constexpr std::string_view kName = "gated_mlp_mixing";
};

}  // namespace heed::inline HEED_ISA
