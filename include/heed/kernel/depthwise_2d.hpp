// SPDX-License-Identifier: Apache-2.0
// Convolution of each channel by itself, with the lanes along the width of the map, or along the channels where those
// are neighbours in memory.
#pragma once

#include "heed/kernel/convolution_transposed.hpp"
#include "heed/kernel/depthwise_channels.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// A plane with its zero padding, cut by columns into as many phases as the horizontal stride: the inputs of
/// neighbouring outputs are neighbours in memory at every tap.
struct PaddedPlane {
  ConvolutionSteps steps;
  Index rows = 0;   // of the padded plane
  Index phase = 0;  // columns of a phase, with room for a whole block of batches behind the last output
  Index taps = 0;   // kh * kw
  Index kernel_width = 0;

  PaddedPlane(const ConvolutionSteps& s, Index kh, Index kw, Index out_rows, Index out_columns, Index slack)
      : steps(s),
        rows((out_rows - 1) * s.stride[0] + (kh - 1) * s.dilation[0] + 1),
        phase(out_columns + (kw - 1) * s.dilation[1] / s.stride[1] + slack),
        taps(kh * kw),
        kernel_width(kw) {}

  Index row_size() const { return phase * steps.stride[1]; }
  Index count() const { return rows * row_size(); }
  /// From the place of an output's row and column to what it reads at a tap.
  Index offset(Index tap) const {
    const Index column = tap % kernel_width * steps.dilation[1];
    return tap / kernel_width * steps.dilation[0] * row_size() + column % steps.stride[1] * phase +
           column / steps.stride[1];
  }

  /// `to` has room for kLanes elements more.
  template <Real T, class U>
  void fill(const View<const U, 2>& plane, T* to) const {
    for (Index r = 0; r < rows; ++r) {
      const Index y = r - steps.padding[0];
      if (y < 0 || y >= plane.size(0)) {
        std::fill_n(to + r * row_size(), row_size(), T(0));
        continue;
      }
      for (Index p = 0; p < steps.stride[1]; ++p)
        gather_row<T>(plane.at(y), plane.stride(1), plane.size(1), p - steps.padding[1], steps.stride[1], phase,
                      to + r * row_size() + p * phase);
    }
  }

  /// plane += what `from` holds in its place.
  template <Real T>
  void add_to(const T* from, const View<T, 2>& plane) const {
    for (Index y = 0; y < std::min(plane.size(0), rows - steps.padding[0]); ++y)
      for (Index x = 0; x < plane.size(1); ++x) {
        const Index column = x + steps.padding[1];
        if (column / steps.stride[1] >= phase) break;
        plane(y, x) +=
            from[(y + steps.padding[0]) * row_size() + column % steps.stride[1] * phase + column / steps.stride[1]];
      }
  }
};

// R rows by NV batches of outputs from the padded plane.
template <int R, int NV, Real T, class U>
HEED_INLINE void depthwise_block(const T* from, Index row_step, const Index* offsets, const T* weights, Index taps,
                                 T bias, U* to, Index row_stride, Index stride, Index columns) {
  constexpr Index w = simd::kLanes<T>;
  simd::Batch<T> acc[R][NV];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = simd::Batch<T>(bias);
  for (Index t = 0; t < taps; ++t) {
    const simd::Batch<T> weight(weights[t]);
    const T* const at = from + offsets[t];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = simd::fma(weight, simd::load(at + r * row_step + v * w), acc[r][v]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v)
      if (columns > v * w) store_strided<T>(acc[r][v], to + r * row_stride + v * w * stride, stride, columns - v * w);
}

inline constexpr int kDepthwiseBatches = 4;

/// Columns that blocks of outputs fill from `first` on: as many batches as depthwise takes for the rest of a row.
template <Real T>
Index depthwise_block_columns(Index first, Index columns) {
  constexpr Index w = simd::kLanes<T>;
  const Index batches = std::min<Index>(kDepthwiseBatches, (columns - first + w - 1) / w);
  return (batches > 2 ? kDepthwiseBatches : batches) * w;
}

/// Index and type of a plane: which channel a plane of outputs reads.
template <class U>
View<U, 2> plane_of(const View<U, 4>& map, Index b, Index channel) {
  return map.select(0, b).select(0, channel);
}

}  // namespace detail

/// out(b, c, i, j) = bias(c) + sum over the taps of weights[c][t] * x(b, c / multiplier, ...) with zero padding;
/// x (B, C, h, w), out (B, C * multiplier, h', w') of any strides and storage, weights contiguous, bias may be null.
/// Taps in order, the bias first: the same bits for any batch and number of threads.
template <Real T, class D, class UX, class UO>
void depthwise(const D& device, const View<const UX, 4>& x, const T* weights, const T* bias, Index kh, Index kw,
               const ConvolutionSteps& steps, const View<UO, 4>& out) {
  constexpr Index w = simd::kLanes<T>, block = detail::kDepthwiseBatches * w;
  if (out.count() == 0) return;
  const Index planes = x.size(0) * x.size(1), multiplier = out.size(1) / x.size(1);
  // Tokens as a map, or maps of one position.
  if (x.stride(1) == 1 && out.stride(1) == 1 && multiplier == 1 && 2 * x.size(1) >= w)
    return depthwise_channels<T>(device, x, weights, bias, kh, kw, steps, out);
  const Index last = (out.size(3) - 1) / block * block;
  const detail::PaddedPlane padded(steps, kh, kw, out.size(2), out.size(3),
                                   last + detail::depthwise_block_columns<T>(last, out.size(3)) - out.size(3));
  const Index together = std::max<Index>(1, 8192 / padded.count());
  parallel_for(device, (planes + together - 1) / together, [&](Index unit) {
    ScratchFrame frame;
    T* const input = frame.take<T>(padded.count() + w);
    Index* const offsets = frame.take<Index>(padded.taps);
    for (Index t = 0; t < padded.taps; ++t) offsets[t] = padded.offset(t);
    const Index row_step = steps.stride[0] * padded.row_size();
    for (Index plane = unit * together; plane < std::min(planes, (unit + 1) * together); ++plane) {
      const Index b = plane / x.size(1), c = plane % x.size(1);
      padded.fill<T>(detail::plane_of(x, b, c), input);
      for (Index m = 0; m < multiplier; ++m) {
        const Index channel = c * multiplier + m;
        const auto target = detail::plane_of(out, b, channel);
        const auto run = [&]<int R, int NV>(Index i, Index j) {
          detail::depthwise_block<R, NV, T>(input + i * row_step + j, row_step, offsets,
                                            weights + channel * padded.taps, padded.taps, bias ? bias[channel] : T(0),
                                            target.at(i, j), target.stride(0), target.stride(1), target.size(1) - j);
        };
        for (Index j = 0; j < target.size(1); j += block) {
          const Index batches = detail::depthwise_block_columns<T>(j, target.size(1)) / w;
          Index i = 0;
          // Eight sums at a time hide the latency of the multiply-add.
          if (batches == 1) {
            for (; i + 8 <= target.size(0); i += 8) run.template operator()<8, 1>(i, j);
            for (; i + 2 <= target.size(0); i += 2) run.template operator()<2, 1>(i, j);
            for (; i < target.size(0); ++i) run.template operator()<1, 1>(i, j);
          } else if (batches > 2) {
            for (; i + 2 <= target.size(0); i += 2) run.template operator()<2, 4>(i, j);
            for (; i < target.size(0); ++i) run.template operator()<1, 4>(i, j);
          } else {
            for (; i + 4 <= target.size(0); i += 4) run.template operator()<4, 2>(i, j);
            for (; i < target.size(0); ++i) run.template operator()<1, 2>(i, j);
          }
        }
      }
    }
  });
}

/// The gradients of depthwise, added to d_x and to d_weights (C * multiplier, 1, kh, kw); null data is not wanted. The
/// sums of an image are joined in the order of the batch.
template <Real T, class D>
void depthwise_backward(const D& device, const View<const T, 4>& x, const T* weights, const ConvolutionSteps& steps,
                        const View<const T, 4>& d_out, const View<T, 4>& d_x, const View<T, 4>& d_weights, Index kh,
                        Index kw) {
  constexpr Index w = simd::kLanes<T>;
  if (d_out.count() == 0) return;
  // Each by itself, so that a gradient has the same bits whether the other is wanted or not.
  if (d_x.data && steps.stride == std::array<Index, 2>{1, 1} && has_channel_lanes<T>(d_out, d_x)) {
    depthwise_channels_backward<T>(device, d_out, weights, kh, kw, steps, d_x);
    return depthwise_backward<T>(device, x, weights, steps, d_out, View<T, 4>(), d_weights, kh, kw);
  }
  if (d_weights.data && has_channel_lanes<T>(x, d_out)) {
    depthwise_channels_weights<T>(device, x, d_out, steps, d_weights);
    return depthwise_backward<T>(device, x, weights, steps, d_out, d_x, View<T, 4>(), kh, kw);
  }
  if (!d_x.data && !d_weights.data) return;
  const Index planes = x.size(0) * x.size(1), multiplier = d_out.size(1) / x.size(1), columns = d_out.size(3);
  const detail::PaddedPlane padded(steps, kh, kw, d_out.size(2), columns, w);
  ScratchFrame shared;
  T* const sums = d_weights.data ? shared.take<T>(x.size(0) * d_out.size(1) * padded.taps) : nullptr;
  parallel_for(device, planes, [&](Index plane) {
    const Index b = plane / x.size(1), c = plane % x.size(1);
    const Index row_step = steps.stride[0] * padded.row_size(), row_size = (columns + w - 1) / w * w;
    ScratchFrame frame;
    T* const input = frame.take<T>(padded.count() + w);
    T* const to_input = frame.take<T>(padded.count() + w);
    T* const incoming = frame.take<T>(d_out.size(2) * row_size + w);
    if (sums) padded.fill<T>(detail::plane_of(x, b, c), input);
    if (d_x.data) std::fill_n(to_input, padded.count() + w, T(0));
    for (Index m = 0; m < multiplier; ++m) {
      const Index channel = c * multiplier + m;
      const auto d_plane = detail::plane_of(d_out, b, channel);
      for (Index i = 0; i < d_plane.size(0); ++i) {
        std::fill_n(incoming + i * row_size, row_size, T(0));
        gather_row<T>(d_plane.at(i), d_plane.stride(1), columns, 0, 1, columns, incoming + i * row_size);
      }
      for (Index t = 0; t < padded.taps; ++t) {
        const Index offset = padded.offset(t);
        const simd::Batch<T> weight(weights[channel * padded.taps + t]);
        simd::Batch<T> sum(T(0));
        for (Index i = 0; i < d_plane.size(0); ++i) {
          const T* const d = incoming + i * row_size;
          if (d_x.data) {
            T* const to = to_input + offset + i * row_step;
            for (Index j = 0; j < columns; j += w)
              simd::fma(weight, simd::load(d + j), simd::load(to + j)).store_unaligned(to + j);
          }
          if (sums) {
            const T* const from = input + offset + i * row_step;
            for_lanes<T>(columns, [&](Index j, auto lanes) {
              sum = simd::fma(load_lanes<T>(d + j, lanes), load_lanes<T>(from + j, lanes), sum);
            });
          }
        }
        if (sums) sums[(b * d_out.size(1) + channel) * padded.taps + t] = simd::reduce_add<T>(sum);
      }
    }
    if (d_x.data) padded.add_to<T>(to_input, detail::plane_of(d_x, b, c));
  });
  if (!sums) return;
  for (Index b = 0; b < x.size(0); ++b)
    for (Index channel = 0; channel < d_out.size(1); ++channel)
      for (Index t = 0; t < padded.taps; ++t)
        d_weights(channel, 0, t / kw, t % kw) += sums[(b * d_out.size(1) + channel) * padded.taps + t];
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
