// SPDX-License-Identifier: Apache-2.0
// resize_bicubic: maps resized by cubic convolution.
#pragma once

#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// What resample() computes: input (i + 0.5) h / h' - 0.5, by the four samples around it with the cubic of a = -0.75,
/// samples of the border repeated, no smoothing before a reduction.
struct BicubicResize {
  static constexpr std::string_view kName = "resize_bicubic";
  std::array<Index, 2> size;

  Index output(std::size_t axis, Index from) const { return detail::resized(kName, from, size[axis]); }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t, Index from, Index to) const {
    kernel::AxisWindows<T> result(frame, to, 4);
    for (Index i = 0; i < to; ++i) {
      const double source = (double(i) + 0.5) * double(from) / double(to) - 0.5, base = std::floor(source);
      const double t = source - base;
      const double weights[4] = {outer(1 + t), inner(t), inner(1 - t), outer(2 - t)};
      const auto at = [&](Index k) { return std::clamp<Index>(Index(base) - 1 + k, 0, from - 1); };
      result.set(i, at(0), at(3) - at(0) + 1, T(0));
      for (Index k = 0; k < 4; ++k) result.weights[i * result.stride + at(k) - at(0)] += T(weights[k]);
    }
    return result;
  }

 private:
  static constexpr double kA = -0.75;
  static double inner(double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; }
  static double outer(double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; }
};

/// x (B, C, h, w) resized to (B, C, h', w') by BicubicResize; the same size gives x. Shapes, errors and cost as
/// resample. Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto resize_bicubic(const D& device, const X& x, const std::array<Index, 2>& size) {
  return resample(BicubicResize{size}, device, x);
}
template <Operand X>
auto resize_bicubic(const X& x, const std::array<Index, 2>& size) {
  return resize_bicubic(DeviceRef(), x, size);
}

}  // namespace heed::inline HEED_ISA
