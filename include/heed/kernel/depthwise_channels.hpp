// SPDX-License-Identifier: Apache-2.0
// Convolution of each channel by itself where channels are neighbours in memory: the lanes are channels.
#pragma once

#include "heed/kernel/convolution_transposed.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// One image (C, h, w) into (C, h', w'), both with a channel stride of 1, and filters whose tap t of channel c is
/// taps[t * stride + c]; the biases stand behind the last tap.
template <Real T, class UX, class UO>
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
    for (int p = 0; p < kPixels; ++p) sums[p] = bias;
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

}  // namespace detail

/// depthwise of x (B, C, h, w) into out (B, C, h', w'), both with neighbouring channels. A tap outside of the map is
/// left out where depthwise multiplies a zero: the same bits for finite weights.
template <Real T, class D, class UX, class UO>
void depthwise_channels(const D& device, const View<const UX, 4>& x, const T* weights, const T* bias, Index kh,
                        Index kw, const ConvolutionSteps& steps, const View<UO, 4>& out) {
  constexpr Index w = simd::kLanes<T>;
  if (out.count() == 0) return;
  const Index channels = x.size(1), taps = kh * kw, stride = (channels + w - 1) / w * w;
  ScratchFrame frame;
  T* const packed = frame.take<T>((taps + 1) * stride);
  if (stride > channels || !bias) std::fill_n(packed, (taps + 1) * stride, T(0));
  copy_rows<T>(weights, 1, taps, taps, channels, packed, stride);
  if (bias) std::copy_n(bias, channels, packed + taps * stride);
  const Index band = std::max<Index>(1, 32768 / (out.size(3) * channels * taps)), rows = out.size(2),
              bands = (rows + band - 1) / band;
  parallel_for(device, x.size(0) * bands, [&](Index unit) {
    const detail::ChannelConvolution<T, UX, UO> image{
        x.select(0, unit / bands), out.select(0, unit / bands), packed, stride, kh, kw, steps};
    const Index first = unit % bands * band;
    for (Index i = first; i < std::min(rows, first + band); ++i) image.row(i);
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
