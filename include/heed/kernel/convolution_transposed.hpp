// SPDX-License-Identifier: Apache-2.0
// The transpose of a convolution: its gradient to the input, and the layer that enlarges a map.
#pragma once

#include "heed/kernel/convolution.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// What a convolution is made of beside its weights, rows first.
struct ConvolutionSteps {
  std::array<Index, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
};

/// out(b, g outs + c, y, x) = bias(g outs + c) + the sum over all channels e of group g, taps t and inputs i with
/// i * stride + t * dilation - padding = (y, x) of x(b, g ins + e, i) * weights(g ins + e, c, t).
///
/// weights (groups * ins, outs, kh, kw) of any strides, bias (groups * outs) contiguous or null. Outputs with equal
/// remainders by the stride read the same taps: each of those grids is a convolution of stride 1 of its own, so that no
/// product with a zero is made and nothing is scattered. The same bits for any number of threads.
template <Write write, Real T, class D, class UX, class UW, class UO>
void convolve_transposed(const D& device, const View<const UX, 4>& x, const View<const UW, 4>& weights, const T* bias,
                         const ConvolutionSteps& steps, Index groups, const View<UO, 4>& out) {
  if (out.count() == 0) return;
  const Index ins = x.size(1) / groups, outs = out.size(1) / groups, kh = weights.size(2), kw = weights.size(3);
  ScratchFrame frame;
  T* const packed_weights = frame.take<T>(groups * outs * ins * kh * kw);
  Index* const tap_rows = frame.take<Index>(kh * kw);
  Index* const tap_columns = frame.take<Index>(kh * kw);
  for (Index py = 0; py < std::min(steps.stride[0], out.size(2)); ++py)
    for (Index px = 0; px < std::min(steps.stride[1], out.size(3)); ++px) {
      Index count = 0;
      // (ky, kx) serve this grid where the stride divides y + padding - k * dilation.
      const auto serves = [&](std::size_t axis, Index phase, Index k) {
        return (phase + steps.padding[axis] - k * steps.dilation[axis]) % steps.stride[axis] == 0;
      };
      for (Index ky = 0; ky < kh; ++ky)
        for (Index kx = 0; kx < kw; ++kx)
          if (serves(0, py, ky) && serves(1, px, kx)) {
            tap_rows[count] = (py + steps.padding[0] - ky * steps.dilation[0]) / steps.stride[0];
            tap_columns[count++] = (px + steps.padding[1] - kx * steps.dilation[1]) / steps.stride[1];
          }
      if (count == 0 && write == Write::kAdd) continue;
      T* to = packed_weights;
      for (Index row = 0; row < groups * outs; ++row)
        for (Index e = 0; e < ins; ++e)
          for (Index ky = 0; ky < kh; ++ky)
            for (Index kx = 0; kx < kw; ++kx)
              if (serves(0, py, ky) && serves(1, px, kx))
                *to++ = simd::widen<T>(weights(row / outs * ins + e, row % outs, ky, kx));
      View<UO, 4> grid = out;
      grid.data = out.at(0, 0, py, px);
      grid.sizes[2] = (out.size(2) - py + steps.stride[0] - 1) / steps.stride[0];
      grid.sizes[3] = (out.size(3) - px + steps.stride[1] - 1) / steps.stride[1];
      grid.strides[2] *= steps.stride[0];
      grid.strides[3] *= steps.stride[1];
      convolve<write, T>(device, x, packed_weights, bias, {{1, 1}, tap_rows, tap_columns, count}, groups, grid);
    }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
