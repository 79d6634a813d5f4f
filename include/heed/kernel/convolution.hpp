// SPDX-License-Identifier: Apache-2.0
// Dense convolution as a product: weights times panels of the input that are gathered tap by tap and live in the cache.
#pragma once

#include "heed/kernel/gemm.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Where the taps of a convolution read: output (i, j) reads input (i * stride[0] + rows[t], j * stride[1] +
/// columns[t]) for tap t, and 0 where that is outside.
struct Taps {
  std::array<Index, 2> stride{1, 1};
  const Index* rows = nullptr;
  const Index* columns = nullptr;
  Index count = 0;
};

/// to[i] = row[(first + i * step) * stride] for `count` elements, 0 where first + i * step is outside of [0, size).
/// Up to kLanes - 1 elements behind them are overwritten.
template <Real T, class U>
HEED_INLINE void gather_row(const U* row, Index stride, Index size, Index first, Index step, Index count, T* to) {
  constexpr Index w = simd::kLanes<T>;
  Index begin = 0, end = count;
  if (first < 0) begin = std::min(count, (step - 1 - first) / step);
  if (first + (count - 1) * step >= size) end = first >= size ? 0 : std::min(count, (size - 1 - first) / step + 1);
  end = std::max(begin, end);
  std::fill_n(to, begin, T(0));
  const U* from = row + first * stride;
  if (step * stride == 1) {
    Index i = begin;
    for (; i + w <= end; i += w) simd::load_as<T>(from + i).store_unaligned(to + i);
    if (i < end) simd::load_partial<T>(from + i, end - i).store_unaligned(to + i);
  } else {
    for (Index i = begin; i < end; ++i) to[i] = simd::widen<T>(from[i * step * stride]);
  }
  std::fill(to + end, to + count, T(0));
}

namespace detail {

/// Positions [first, first + count) of a grid of outputs, row by row: the numbers that they read at one tap of one
/// plane.
template <Real T, class U>
void gather_positions(const View<const U, 2>& plane, const Taps& taps, Index tap, Index grid_width, Index first,
                      Index count, T* to) {
  for (Index row = first / grid_width, column = first % grid_width; count > 0; ++row, column = 0) {
    const Index some = std::min(grid_width - column, count);
    const Index y = row * taps.stride[0] + taps.rows[tap];
    if (y < 0 || y >= plane.size(0)) {
      std::fill_n(to, some, T(0));
    } else {
      gather_row<T>(plane.at(y), plane.stride(1), plane.size(1), column * taps.stride[1] + taps.columns[tap],
                    taps.stride[1], some, to);
    }
    to += some;
    count -= some;
  }
}

/// Rows are split further while there are fewer than four units of work for each thread; `least` rows stay together.
template <class D>
Index split_rows(const D& device, Index units, Index rows, Index least) {
  Index tiles = (rows + kGemmRows - 1) / kGemmRows;
  while (tiles * units < 4 * thread_count(device) && rows > least * tiles) tiles *= 2;
  return tiles;
}

}  // namespace detail

/// out(b, g rows + r, i, j) = bias(g rows + r) + sum over the channels c of group g and the taps t of
/// weights[g rows + r][c count + t] * x(b, g channels + c, input of (i, j) at t).
///
/// x (B, groups * channels, h, w) and out (B, groups * rows, h', w') of any strides and storage; weights are
/// contiguous, bias may be null, or must be with Write::kAdd. Sums in blocks of 256 of the depth as gemm does: an
/// element has the same bits for any batch and any number of threads. Scratch of a panel (256 x kPanelWidth) a thread.
template <Write write, Real T, class D, class UX, class UO>
void convolve(const D& device, const View<const UX, 4>& x, const T* weights, const T* bias, const Taps& taps,
              Index groups, const View<UO, 4>& out) {
  constexpr Index width = kPanelWidth<T>, w = simd::kLanes<T>;
  if (out.count() == 0) return;
  const Index channels = x.size(1) / groups, rows = out.size(1) / groups, depth = channels * taps.count;
  const Index grid_width = out.size(3), positions = out.size(2) * grid_width;
  const Index panels = (positions + width - 1) / width, units = out.size(0) * groups * panels;
  const Index tile_rows = [&] {
    const Index tiles = detail::split_rows(device, units, rows, 24);
    return (rows + tiles - 1) / tiles;
  }();
  const Index tiles = (rows + tile_rows - 1) / tile_rows;
  const bool in_place = std::same_as<T, UO> && out.stride(3) == 1 && (out.size(2) == 1 || out.stride(2) == grid_width);

  parallel_for(device, units * tiles, [&](Index unit) {
    const Index tile = unit % tiles, first = unit / tiles % panels * width, plane = unit / tiles / panels;
    const Index b = plane / groups, g = plane % groups;
    const Index row = g * rows + tile * tile_rows, count = std::min(tile_rows, rows - tile * tile_rows);
    const Index lanes = std::min(width, positions - first), padded_lanes = (lanes + w - 1) / w * w;
    ScratchFrame frame;
    T* const panel = frame.take<T>(std::min(detail::kGemmDepth, depth) * width + w);
    T* sum = nullptr;
    Index sum_stride = out.stride(1), last = (lanes - 1) % w + 1;
    if constexpr (std::same_as<T, UO>)
      if (in_place) sum = out.at(b, row) + first;
    if (!in_place) {
      sum = frame.take<T>(count * width);
      sum_stride = width;
      last = w;
    }
    const bool adds_in_place = write == Write::kAdd && in_place;
    const bool add = bias || depth == 0 || adds_in_place;
    if (add && !adds_in_place)
      for (Index r = 0; r < count; ++r)
        std::fill_n(sum + r * sum_stride, in_place ? lanes : padded_lanes, bias ? bias[row + r] : T(0));
    detail::gemm_tile<T>(weights + row * depth, depth, 1, count, lanes, depth,
                         add ? detail::GemmStart<T>{sum, sum_stride} : detail::GemmStart<T>(), sum, sum_stride, last,
                         [&](Index from, Index part) {
                           for (Index d = 0; d < part; ++d) {
                             const auto input = x.select(0, b).select(0, g * channels + (from + d) / taps.count);
                             T* const to = panel + d * width;
                             detail::gather_positions<T>(input, taps, (from + d) % taps.count, grid_width, first, lanes,
                                                         to);
                             std::fill(to + lanes, to + padded_lanes, T(0));
                           }
                           return panel;
                         });
    if (in_place) return;
    for (Index r = 0; r < count; ++r)
      for (Index i = 0; i < lanes; ++i) {
        UO& target = out(b, row + r, (first + i) / grid_width, (first + i) % grid_width);
        const T value = sum[r * width + i];
        target = static_cast<UO>(write == Write::kAdd ? simd::widen<T>(target) + value : value);
      }
  });
}

/// The gradient of the weights of convolve: d_weights(g rows + r, c, t / kernel_width, t % kernel_width) +=
/// sum over b and positions of d_out(b, g rows + r, i, j) * x(b, g channels + c, input of (i, j) at t).
///
/// The positions of d_out must lie evenly in memory. Images and positions are summed in order, 256 positions at a time.
template <Real T, class D>
void convolve_weights(const D& device, const View<const T, 4>& x, const View<const T, 4>& d_out, const Taps& taps,
                      Index groups, const View<T, 4>& d_weights) {
  constexpr Index width = kPanelWidth<T>, w = simd::kLanes<T>;
  const Index channels = x.size(1) / groups, rows = d_out.size(1) / groups, depth = channels * taps.count;
  const Index grid_width = d_out.size(3), positions = d_out.size(2) * grid_width, kernel_width = d_weights.size(3);
  if (positions * x.size(0) * rows * depth == 0) return;
  const Index panels = (depth + width - 1) / width, units = groups * panels;
  const Index tile_rows = [&] {
    const Index tiles = detail::split_rows(device, units, rows, 12);
    return (rows + tiles - 1) / tiles;
  }();
  const Index tiles = (rows + tile_rows - 1) / tile_rows;

  parallel_for(device, units * tiles, [&](Index unit) {
    const Index tile = unit % tiles, first = unit / tiles % panels * width, g = unit / tiles / panels;
    const Index row = g * rows + tile * tile_rows, count = std::min(tile_rows, rows - tile * tile_rows);
    const Index lanes = std::min(width, depth - first), most = std::min(detail::kGemmDepth, positions);
    ScratchFrame frame;
    T* const columns = frame.take<T>(lanes * most + w);
    T* const panel = frame.take<T>(most * width);
    T* const sum = frame.take<T>(count * width);
    std::fill_n(sum, count * width, T(0));
    for (Index b = 0; b < x.size(0); ++b)
      for (Index position = 0; position < positions; position += most) {
        const Index part = std::min(most, positions - position);
        for (Index d = 0; d < lanes; ++d) {
          const auto input = x.select(0, b).select(0, g * channels + (first + d) / taps.count);
          detail::gather_positions<T>(input, taps, (first + d) % taps.count, grid_width, position, part,
                                      columns + d * part);
        }
        rows_to_panel<T>(columns, part, 1, lanes, part, T(1), panel);
        const T* const a = d_out.at(b, row) + position * d_out.stride(3);
        detail::gemm_tile<T>(a, d_out.stride(1), d_out.stride(3), count, lanes, part, {sum, width}, sum, width, w,
                             [&](Index, Index) { return panel; });
      }
    for (Index r = 0; r < count; ++r)
      for (Index d = 0; d < lanes; ++d) {
        const Index tap = (first + d) % taps.count;
        d_weights(row + r, (first + d) / taps.count, tap / kernel_width, tap % kernel_width) += sum[r * width + d];
      }
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
