// SPDX-License-Identifier: Apache-2.0
// Convolution of each channel by itself where channels are neighbours in memory: the lanes are channels.
#pragma once

#include "heed/kernel/convolution_transposed.hpp"
#include "heed/kernel/transpose.hpp"
#include "heed/kernel/write.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// One image (C, h, w) into (C, h', w'), both with a channel stride of 1, and filters whose tap t of channel c is
/// taps[t * stride + c]; the biases stand behind the last tap, and count for nothing where the result is added.
template <Write write, Real T, class UX, class UO>
struct ChannelConvolution {
  using Batch = simd::Batch<T>;
  static constexpr int kPixels = 8;

  View<const UX, 3> x;
  View<UO, 3> out;
  const T* taps;
  Index stride, kh, kw;
  ConvolutionSteps steps;

  // Channels innermost: a pixel's channels lie in one piece, and those of a few pixels stay in cache for all taps.
  void row(Index i) const {
    constexpr Index w = simd::kLanes<T>;
    const bool plain = steps.stride[1] == 1;
    const Index step = plain ? steps.dilation[1] : 1;  // between outputs of a block: so they share what they read
    for (Index phase = 0; phase < step; ++phase)
      for (Index j = phase; j < out.size(2); j += kPixels * step)
        for (Index c = 0; c < x.size(0); c += w) {
          const Index lanes = x.size(0) - c;
          if (lanes >= w) {
            pixels<true>(i, j, step, c, w, plain);
          } else {
            pixels<false>(i, j, step, c, lanes, plain);
          }
        }
  }

 private:
  template <bool kWhole>
  void pixels(Index i, Index j, Index step, Index c, Index lanes, bool plain) const {
    Batch sums[kPixels];
    const Batch bias = simd::load_aligned(taps + kh * kw * stride + c);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) {
      sums[p] = bias;
      if constexpr (write == Write::kAdd)
        if (j + p * step < out.size(2)) sums[p] = load<kWhole>(out.at(c, i, j + p * step), lanes);
    }
    if (plain && kw == 3) {
      shared<kWhole, 3>(i, j, c, lanes, sums);
    } else if (plain && kw == 5) {
      shared<kWhole, 5>(i, j, c, lanes, sums);
    } else if (plain && kw == 7) {
      shared<kWhole, 7>(i, j, c, lanes, sums);
    } else {
      separate<kWhole>(i, j, step, c, lanes, sums);
    }
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p)
      if (j + p * step < out.size(2)) simd::store_partial<T>(sums[p], out.at(c, i, j + p * step), lanes);
  }

  template <bool kWhole>
  static Batch load(const UX* address, Index lanes) {
    if constexpr (kWhole) {
      return simd::load_as<T>(address);
    } else {
      return simd::load_partial<T>(address, lanes);
    }
  }

  // Outputs as far apart as the taps: output p reads at tap v what output p + 1 reads at tap v - 1, so that a pixel is
  // loaded once for a row of taps.
  template <bool kWhole, int KW>
  HEED_INLINE void shared(Index i, Index j, Index c, Index lanes, Batch (&sums)[kPixels]) const {
    for (Index u = 0; u < kh; ++u) {
      const Index y = i * steps.stride[0] - steps.padding[0] + u * steps.dilation[0];
      if (y < 0 || y >= x.size(1)) continue;
      Batch weight[KW];
#pragma GCC unroll 8
      for (int v = 0; v < KW; ++v) weight[v] = simd::load_aligned(taps + (u * KW + v) * stride + c);
      const UX* const pixel = x.at(c, y);
      Index column = j - steps.padding[1];
#pragma GCC unroll 16
      for (int q = 0; q < kPixels + KW - 1; ++q) {
        if (column >= 0 && column < x.size(2)) {
          const Batch value = load<kWhole>(pixel + column * x.stride(2), lanes);
#pragma GCC unroll 8
          for (int v = 0; v < KW; ++v)
            if (q >= v && q - v < kPixels) sums[q - v] = simd::fma(weight[v], value, sums[q - v]);
        }
        column += steps.dilation[1];
      }
    }
  }
  template <bool kWhole>
  HEED_INLINE void separate(Index i, Index j, Index step, Index c, Index lanes, Batch (&sums)[kPixels]) const {
    for (Index t = 0; t < kh * kw; ++t) {
      const Index y = i * steps.stride[0] - steps.padding[0] + t / kw * steps.dilation[0];
      if (y < 0 || y >= x.size(1)) continue;
      const Batch weight = simd::load_aligned(taps + t * stride + c);
      const UX* const pixel = x.at(c, y);
      Index column = j * steps.stride[1] - steps.padding[1] + t % kw * steps.dilation[1];
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) {
        if (column >= 0 && column < x.size(2))
          sums[p] = simd::fma(weight, load<kWhole>(pixel + column * x.stride(2), lanes), sums[p]);
        column += step * steps.stride[1];
      }
    }
  }
};

/// Filters as ChannelConvolution reads them, in memory of the frame; reversed: the last tap first, for the way back.
template <Real T>
struct ChannelFilters {
  const T* taps = nullptr;
  Index stride = 0;

  ChannelFilters(ScratchFrame& frame, const T* weights, const T* bias, Index channels, Index count, bool reversed)
      : stride((channels + simd::kLanes<T> - 1) / simd::kLanes<T> * simd::kLanes<T>) {
    T* const packed = frame.take<T>((count + 1) * stride);
    if (stride > channels || !bias) std::fill_n(packed, (count + 1) * stride, T(0));
    if (reversed) {
      for (Index t = 0; t < count; ++t)
        copy_rows<T>(weights + count - 1 - t, 1, count, 1, channels, packed + t * stride, stride);
    } else {
      copy_rows<T>(weights, 1, count, count, channels, packed, stride);
    }
    if (bias) std::copy_n(bias, channels, packed + count * stride);
    taps = packed;
  }
};

// In bands of rows that are worth a thread.
template <Write write, Real T, class D, class UX, class UO>
void run_channels(const D& device, const View<const UX, 4>& x, const ChannelFilters<T>& filters, Index kh, Index kw,
                  const ConvolutionSteps& steps, const View<UO, 4>& out) {
  const Index band = std::max<Index>(1, 32768 / (out.size(3) * x.size(1) * kh * kw)), rows = out.size(2),
              bands = (rows + band - 1) / band;
  parallel_for(device, x.size(0) * bands, [&](Index unit) {
    const ChannelConvolution<write, T, UX, UO> image{
        x.select(0, unit / bands), out.select(0, unit / bands), filters.taps, filters.stride, kh, kw, steps};
    const Index first = unit % bands * band;
    for (Index i = first; i < std::min(rows, first + band); ++i) image.row(i);
  });
}

// sums[t * pitch + e] = sum over the outputs of an image of d_out(c + e) times what tap t reads of x(c + e), for
// `lanes` channels from c on. Row by row, so that rows stay in the first-level cache for all taps.
template <bool kWhole, Real T>
void channel_weight_sums(const View<const T, 3>& x, const View<const T, 3>& d_out, Index c, Index lanes, Index kh,
                         Index kw, const ConvolutionSteps& steps, T* sums, Index pitch) {
  using Batch = simd::Batch<T>;
  const auto load = [&](const T* address) {
    return kWhole ? simd::load_as<T>(address) : simd::load_partial<T>(address, lanes);
  };
  for (Index t = 0; t < kh * kw; ++t) Batch(T(0)).store_aligned(sums + t * pitch);
  const Index stride = steps.stride[1], columns = x.size(2), step = stride * x.stride(2), d_step = d_out.stride(2);
  for (Index i = 0; i < d_out.size(1); ++i)
    for (Index t = 0; t < kh * kw; ++t) {
      const Index y = i * steps.stride[0] - steps.padding[0] + t / kw * steps.dilation[0];
      const Index left = t % kw * steps.dilation[1] - steps.padding[1];  // column that the first output reads
      const Index first = left < 0 ? (stride - 1 - left) / stride : 0;
      const Index last = left >= columns ? 0 : std::min(d_out.size(2), (columns - 1 - left) / stride + 1);
      if (y < 0 || y >= x.size(1) || first >= last) continue;
      const T* from = x.at(c, y) + (first * stride + left) * x.stride(2);
      const T* d = d_out.at(c, i, first);
      Batch sum[4] = {simd::load_aligned(sums + t * pitch), Batch(T(0)), Batch(T(0)), Batch(T(0))};
      Index j = first;
      for (; j + 4 <= last; j += 4, from += 4 * step, d += 4 * d_step)
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) sum[p] = simd::fma(load(d + p * d_step), load(from + p * step), sum[p]);
      for (; j < last; ++j, from += step, d += d_step) sum[0] = simd::fma(load(d), load(from), sum[0]);
      ((sum[0] + sum[1]) + (sum[2] + sum[3])).store_aligned(sums + t * pitch);
    }
}

}  // namespace detail

/// depthwise of x (B, C, h, w) into out (B, C, h', w'), both with neighbouring channels. A tap outside of the map is
/// left out where depthwise multiplies a zero: the same bits for finite weights.
template <Real T, class D, class UX, class UO>
void depthwise_channels(const D& device, const View<const UX, 4>& x, const T* weights, const T* bias, Index kh,
                        Index kw, const ConvolutionSteps& steps, const View<UO, 4>& out) {
  if (out.count() == 0) return;
  ScratchFrame frame;
  const detail::ChannelFilters<T> filters(frame, weights, bias, x.size(1), kh * kw, false);
  detail::run_channels<Write::kAssign, T>(device, x, filters, kh, kw, steps, out);
}

/// Whether the lanes of a pass over two maps can be channels: neighbours in both, and enough for half a batch.
template <Real T, class U, class V>
bool has_channel_lanes(const View<U, 4>& x, const View<V, 4>& y) {
  return x.stride(1) == 1 && y.stride(1) == 1 && x.size(1) == y.size(1) && 2 * x.size(1) >= simd::kLanes<T>;
}

/// The gradient of x in depthwise_channels with a stride of 1, added to d_x: d_out convolved with the taps in reverse.
template <Real T, class D>
void depthwise_channels_backward(const D& device, const View<const T, 4>& d_out, const T* weights, Index kh, Index kw,
                                 const ConvolutionSteps& steps, const View<T, 4>& d_x) {
  ScratchFrame frame;
  const detail::ChannelFilters<T> filters(frame, weights, nullptr, d_x.size(1), kh * kw, true);
  const ConvolutionSteps back{
      {1, 1},
      {(kh - 1) * steps.dilation[0] - steps.padding[0], (kw - 1) * steps.dilation[1] - steps.padding[1]},
      steps.dilation};
  detail::run_channels<Write::kAdd, T>(device, d_out, filters, kh, kw, back, d_x);
}

/// The gradient of the weights in depthwise_channels, added to d_weights (C, 1, kh, kw). The sums of an image are
/// joined in the order of the batch.
template <Real T, class D>
void depthwise_channels_weights(const D& device, const View<const T, 4>& x, const View<const T, 4>& d_out,
                                const ConvolutionSteps& steps, const View<T, 4>& d_weights) {
  constexpr Index w = simd::kLanes<T>;
  const Index channels = x.size(1), kh = d_weights.size(2), kw = d_weights.size(3), taps = kh * kw;
  const Index blocks = (channels + w - 1) / w, pitch = blocks * w;
  ScratchFrame frame;
  T* const sums = frame.take<T>(x.size(0) * taps * pitch);
  parallel_for(device, x.size(0) * blocks, [&](Index unit) {
    const Index b = unit / blocks, c = unit % blocks * w, lanes = std::min(w, channels - c);
    T* const to = sums + b * taps * pitch + c;
    if (lanes == w) {
      detail::channel_weight_sums<true, T>(x.select(0, b), d_out.select(0, b), c, w, kh, kw, steps, to, pitch);
    } else {
      detail::channel_weight_sums<false, T>(x.select(0, b), d_out.select(0, b), c, lanes, kh, kw, steps, to, pitch);
    }
  });
  for (Index b = 0; b < x.size(0); ++b)
    for (Index t = 0; t < taps; ++t)
      for (Index c = 0; c < channels; ++c) d_weights(c, 0, t / kw, t % kw) += sums[(b * taps + t) * pitch + c];
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
