// SPDX-License-Identifier: Apache-2.0
// visual_attention: a large-kernel unit between two projections, and the block that it stands in.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/neighborhood/large_separable_kernel_attention.hpp"
#include "heed/neighborhood/sdlska.hpp"

namespace heed::inline HEED_ISA {

/// out = x + out(unit(gelu(in(x)))), in and out across channels; Unit is LargeKernelAttention,
/// LargeSeparableKernelAttention or Sdlska, whose options are those of `unit`.
///
///   heed::VisualAttention<float, heed::Sdlska<float>> attend{.unit = {{.dilation = 3}}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, C, h, w); in.weight and out.weight (C, C), biases (C); unit., the parameters of the unit. Throws
/// heed::Error for shapes and options that do not fit and maps without positions. Time of the unit and O(B h w C^2);
/// the same bits for any number of threads. Source: Guo et al. 2022 (Visual Attention Network), the class Attention of
/// the authors' code; with the other units Huang et al. 2025 (BEVANet).
template <Real T, class Unit = LargeKernelAttention<T>>
struct VisualAttention {
  ConvChannels<T> in = {};
  Unit unit = {};
  ConvChannels<T> out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "in.", in, "unit.", unit, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1];
    require_parameter(kName, "in.weight", in.weight, {channels, channels});
    require_parameter(kName, "out.weight", out.weight, {channels, channels});
    const auto active = gelu(device, in(device, x));
    const auto attended = unit(device, active);
    return add(device, x, out(device, attended));
  }

 private:
  static constexpr std::string_view kName = "visual_attention";
};

}  // namespace heed::inline HEED_ISA
