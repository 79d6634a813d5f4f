// SPDX-License-Identifier: Apache-2.0
// One filter per channel, along the rows of a matrix: the lanes are channels.
#pragma once

#include <algorithm>

#include "heed/core/scratch.hpp"
#include "heed/core/tensor.hpp"
#include "heed/kernel/write.hpp"
#include "heed/simd/convert.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// The filters of `channels` channels as the kernel reads them: tap c of all channels, one after the other, in rows of
/// whole batches; behind the taps the biases.
template <Real T>
struct DepthwiseFilters {
  const T* taps = nullptr;
  Index count = 0;   ///< K
  Index stride = 0;  ///< from tap to tap
  const T* bias() const { return taps + count * stride; }
};

/// weight (D, K) and bias (D), whose data may be null, in memory of the frame; reversed: the last tap first.
template <Real T, class U>
DepthwiseFilters<T> pack_depthwise(ScratchFrame& frame, const View<const U, 2>& weight, const View<const U, 1>& bias,
                                   bool reversed) {
  constexpr Index w = simd::kLanes<T>;
  const Index channels = weight.size(0), count = weight.size(1), stride = (channels + w - 1) / w * w;
  T* const taps = frame.take<T>((count + 1) * stride);
  std::fill_n(taps, (count + 1) * stride, T(0));
  for (Index c = 0; c < count; ++c)
    for (Index d = 0; d < channels; ++d) taps[c * stride + d] = simd::widen<T>(weight(d, reversed ? count - 1 - c : c));
  if (bias.data)
    for (Index d = 0; d < channels; ++d) taps[count * stride + d] = simd::widen<T>(bias(d));
  return {taps, count, stride};
}

/// out(n, d) = bias[d] + sum over taps c of weight[d, c] x(n + c * dilation - left, d), or added to out, for rows
/// [first, last) of out; rows of x before the first and behind the last are 0. Taps are summed in their order.
template <Write write, Real T, class U, class UO>
void depthwise_1d(const View<const U, 2>& x, const DepthwiseFilters<T>& filters, Index left, Index dilation,
                  const View<UO, 2>& out, Index first, Index last) {
  using Batch = simd::Batch<T>;
  constexpr Index w = simd::kLanes<T>;
  constexpr int kRows = 4;  // rows that share each load of a tap
  const Index channels = x.size(1), rows = x.size(0);
  const Index reach = (filters.count - 1) * dilation;
  // Channels innermost, so that memory is read and written row by row.
  for (Index n = first; n < last;) {
    const bool together = n + kRows <= last && n >= left && n + kRows - 1 + reach - left < rows;
    for (Index d = 0; d < channels; d += w) {
      const Index lanes = std::min(w, channels - d);
      const auto load = [&](Index row) {
        return simd::load_strided<T>(x.data + row * x.stride(0) + d * x.stride(1), x.stride(1), lanes);
      };
      const auto put = [&](Index row, Batch sum) {
        UO* const to = out.data + row * out.stride(0) + d * out.stride(1);
        if constexpr (write == Write::kAdd) sum = simd::load_strided<T>(to, out.stride(1), lanes) + sum;
        if (out.stride(1) == 1) {
          simd::store_partial<T>(sum, to, lanes);
        } else {
          alignas(64) T values[w];
          sum.store_aligned(values);
          for (Index i = 0; i < lanes; ++i) to[i * out.stride(1)] = static_cast<UO>(values[i]);
        }
      };
      const Batch bias = simd::load_aligned(filters.bias() + d);
      if (together) {
        Batch sum[kRows] = {bias, bias, bias, bias};
        for (Index c = 0; c < filters.count; ++c) {
          const Batch tap = simd::load_aligned(filters.taps + c * filters.stride + d);
          const Index from = n + c * dilation - left;
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) sum[r] = simd::fma(tap, load(from + r), sum[r]);
        }
        for (int r = 0; r < kRows; ++r) put(n + r, sum[r]);
      } else {
        Batch sum = bias;
        for (Index c = 0; c < filters.count; ++c) {
          const Index from = n + c * dilation - left;
          if (from >= 0 && from < rows)
            sum = simd::fma(simd::load_aligned(filters.taps + c * filters.stride + d), load(from), sum);
        }
        put(n, sum);
      }
    }
    n += together ? kRows : 1;
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
