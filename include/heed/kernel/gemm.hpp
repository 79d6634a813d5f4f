// SPDX-License-Identifier: Apache-2.0
// The dense product of a layer: rows of tokens times rows of weights, on the panels of the fused kernel.
#pragma once

#include "heed/core/device.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/panel.hpp"
#include "heed/kernel/rows.hpp"
#include "heed/kernel/transpose.hpp"
#include "heed/kernel/write.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// Depth that is summed in registers at a time: a block of the packed panel (64 KiB) streams from the second-level
/// cache behind the arithmetic, and the sums are loaded and stored once for 256 multiply-adds.
inline constexpr Index kGemmDepth = 256;
/// Rows that share one packed panel, at the most: packing costs about as much as the product with four of them.
inline constexpr Index kGemmRows = 384;

/// What a product is added to: rows of the result itself, or one row (stride 0), the bias; nothing where `data` is
/// null.
template <Real T>
struct GemmStart {
  const T* data = nullptr;
  Index stride = 0;
};

// sum(r, i) = start(r, i) + sum over d of a(r, d) * panel[d][i], for NV batches of columns of which the last has `last`
// columns in memory.
template <int NV, Real T>
HEED_NOINLINE void gemm_block(const T* a, Index a_stride, Index rows, const T* panel, Index depth, GemmStart<T> start,
                              T* sum, Index sum_stride, Index last) {
  constexpr Index w = simd::kLanes<T>;
  for_row_blocks<kMicroRows<NV>>(rows, [&]<int R>(Index row) {
    Batch<T> acc[R][NV];
    clear<T>(acc);
    multiply<T>(a + row * a_stride, a_stride, 1, panel, depth, acc);
    T* to = sum + row * sum_stride;
    const T* from = start.data ? start.data + row * start.stride : nullptr;
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        T* address = to + r * sum_stride + v * w;
        const T* old = from ? from + r * start.stride + v * w : nullptr;
        if (v + 1 < NV || last == w) {
          (old ? simd::load(old) + acc[r][v] : acc[r][v]).store_unaligned(address);
        } else {
          simd::store_partial<T>(old ? simd::load_partial<T>(old, last) + acc[r][v] : acc[r][v], address, last);
        }
      }
    }
  });
}

// The same over any depth and storage, kGemmDepth at a time. pack(first, count) returns the panel of those elements.
template <Real T, class U, class Pack>
void gemm_tile(const U* data, Index row_stride, Index inner_stride, Index rows, Index lanes, Index depth,
               GemmStart<T> start, T* sum, Index sum_stride, Index last, Pack&& pack) {
  constexpr Index w = simd::kLanes<T>;
  ScratchFrame frame;
  T* copy = nullptr;
  for (Index first = 0; first < depth; first += kGemmDepth) {
    const Index part = std::min(kGemmDepth, depth - first);
    const T* panel = pack(first, part);
    const T* a = nullptr;
    Index a_stride = row_stride;
    if constexpr (std::same_as<T, U>)
      if (inner_stride == 1) a = data + first;
    if (!a) {
      if (!copy) copy = frame.take<T>(rows * std::min(kGemmDepth, depth));
      copy_rows<T>(data + first * inner_stride, row_stride, inner_stride, rows, part, copy, part);
      a = copy;
      a_stride = part;
    }
    with_batches(int((lanes + w - 1) / w),
                 [&]<int NV>() { gemm_block<NV, T>(a, a_stride, rows, panel, part, start, sum, sum_stride, last); });
    start = {sum, sum_stride};
  }
}

// Outputs in the lanes: the weights are packed, and rows of c are written as they come.
template <Write write, Real T, class D, class UA, class UB, class UC>
void gemm_by_outputs(const D& device, const View<const UA, 2>& a, const View<const UB, 2>& b,
                     const View<const UB, 1>& bias, const View<UC, 2>& c) {
  constexpr Index width = kPanelWidth<T>, w = simd::kLanes<T>;
  const Index rows = a.size(0), outputs = b.size(0), depth = a.size(1);
  const Index panels = (outputs + width - 1) / width;
  // Which rows share a packed panel changes no sum: tiles may follow the number of threads.
  Index tiles = (rows + kGemmRows - 1) / kGemmRows;
  while (tiles * panels < 4 * thread_count(device) && rows > 96 * tiles) tiles *= 2;
  const Index tile_rows = (rows + tiles - 1) / tiles;
  tiles = (rows + tile_rows - 1) / tile_rows;

  parallel_for(device, tiles * panels, [&](Index unit) {
    const Index row = unit / panels * tile_rows, count = std::min(tile_rows, rows - row);
    const Index output = unit % panels * width, lanes = std::min(width, outputs - output);
    ScratchFrame frame;
    T* panel = frame.take<T>(std::min(kGemmDepth, depth) * width);
    T* sum = nullptr;
    Index sum_stride = c.stride(0), last = (lanes - 1) % w + 1;
    if constexpr (std::same_as<T, UC>)
      if (c.stride(1) == 1) sum = c.at(row, output);
    const bool in_place = sum != nullptr;
    if (!in_place) {
      sum = frame.take<T>(count * width);
      sum_stride = width;
      last = w;
    }
    GemmStart<T> start;
    if (write == Write::kAdd && in_place) start = {sum, sum_stride};
    alignas(64) T first_row[width] = {};
    if (bias.data) {
      for (Index i = 0; i < lanes; ++i) first_row[i] = simd::widen<T>(bias(output + i));
      start = {first_row, 0};
    }
    if (depth == 0 && !(write == Write::kAdd && in_place))
      for (Index r = 0; r < count; ++r) std::copy_n(first_row, lanes, sum + r * sum_stride);
    gemm_tile<T>(a.at(row), a.stride(0), a.stride(1), count, lanes, depth, start, sum, sum_stride, last,
                 [&](Index first, Index part) {
                   rows_to_panel<T>(b.at(output, first), b.stride(0), b.stride(1), lanes, part, T(1), panel);
                   return panel;
                 });
    if (in_place) return;
    for (Index r = 0; r < count; ++r)
      for (Index i = 0; i < lanes; ++i) {
        UC& target = c(row + r, output + i);
        const T x = sum[r * width + i];
        target = static_cast<UC>(write == Write::kAdd ? simd::widen<T>(target) + x : x);
      }
  });
}

// Tokens in the lanes, at most a panel of them: the weights are read once and in place.
template <Real T, class D, class UA, class UB, class UC>
void gemm_by_tokens(const D& device, const View<const UA, 2>& a, const View<const UB, 2>& b,
                    const View<const UB, 1>& bias, const View<UC, 2>& c) {
  constexpr Index width = kPanelWidth<T>, chunk = 96;
  const Index tokens = a.size(0), outputs = b.size(0), depth = a.size(1);
  ScratchFrame shared;
  T* panel = shared.take<T>(depth * width);
  rows_to_panel<T>(a.data, a.stride(0), a.stride(1), tokens, depth, T(1), panel);

  parallel_for(device, (outputs + chunk - 1) / chunk, [&](Index unit) {
    const Index output = unit * chunk, count = std::min(chunk, outputs - output);
    ScratchFrame frame;
    T* sum = frame.take<T>(chunk * width);
    const bool add = bias.data || depth == 0;
    if (add)
      for (Index r = 0; r < count; ++r)
        std::fill_n(sum + r * width, width, bias.data ? simd::widen<T>(bias(output + r)) : T(0));
    gemm_tile<T>(b.at(output), b.stride(0), b.stride(1), count, tokens, depth,
                 add ? GemmStart<T>{sum, width} : GemmStart<T>(), sum, width, simd::kLanes<T>,
                 [&](Index first, Index) { return panel + first * width; });
    alignas(64) T ones[width];
    std::fill_n(ones, width, T(1));
    panel_to_rows<T>(sum, ones, tokens, count, c.at(0, output), c.stride(0), c.stride(1));
  });
}

}  // namespace detail

/// c = a b^T + bias: c(i, o) = bias(o) + sum over d of a(i, d) * b(o, d), for a (rows, depth), b (outputs, depth) and
/// c (rows, outputs) of any strides; c must not overlap the others. bias is (outputs), or a view of no data for none.
///
/// Any storage, computed in double for double and in float for the rest. Blocks of 256 of the depth are summed in
/// order, then the blocks and the bias, whatever the number of rows, outputs or threads: an element has the same bits
/// in all of them, and an error of at most (256 + depth / 256 + 1) eps times the sum of |a(i, d) b(o, d)| and |bias|.
/// With Write::kAdd, c += a b^T, in the order c, first block, second block, and bias must be none.
/// Time O(rows * outputs * depth); scratch of at most 1 MiB a thread, and for few rows kPanelWidth elements for each
/// element of the depth.
template <Write write = Write::kAssign, class D, class UA, class UB, class UC>
void gemm(const D& device, const View<const UA, 2>& a, const View<const UB, 2>& b, const View<const UB, 1>& bias,
          const View<UC, 2>& c) {
  using T = Compute<UA>;
  static_assert(std::same_as<T, Compute<UB>> && std::same_as<T, Compute<UC>>,
                "heed::kernel::gemm: double goes with double only");
  if (c.count() == 0) return;
  // Up to a panel of rows the weights are read once and in place, beyond that it pays to pack them (768 x 768 weights,
  // GFLOP/s by outputs and by tokens: 61 and 80 for 16 rows, 95 and 112 for 64, 94 and 84 for 65, 101 and 106 for 512,
  // and 104 and 89 at 1024 x 1024 x 64).
  // Weights whose rows are columns of memory cannot be read in place.
  if (write == Write::kAssign && a.size(0) <= kPanelWidth<T> && b.stride(1) == 1) {
    detail::gemm_by_tokens<T>(device, a, b, bias, c);
  } else {
    detail::gemm_by_outputs<write, T>(device, a, b, bias, c);
  }
}

/// Tokens up to which gemm_few is the faster one (768 x 768 weights of float, GFLOP/s of it and of gemm: with 16 lanes
/// 45 and 5 for one token, 69 and 40 for 8, 76 and 81 for 16; with 8 lanes 21 and 11 for one, 54 and 45 for 4, 51 and
/// 81 for 8).
template <Real T>
inline constexpr Index kFewTokens = std::max(1, simd::kLanes<T> / 2);

/// The same product for few tokens, bound by the reading of b: the lanes run along the depth, and b is read once for
/// four rows of a. Sums in another order than gemm, with an error of at most (depth / kLanes + log2 kLanes + 2) eps of
/// the magnitudes; again an element has the same bits for any number of rows, outputs or threads.
template <class D, class UA, class UB, class UC>
void gemm_few(const D& device, const View<const UA, 2>& a, const View<const UB, 2>& b, const View<const UB, 1>& bias,
              const View<UC, 2>& c) {
  using T = Compute<UA>;
  static_assert(std::same_as<T, Compute<UB>> && std::same_as<T, Compute<UC>>,
                "heed::kernel::gemm_few: double goes with double only");
  constexpr Index most = 64, chunk = 64;  // rows of a, and of b, that one unit of work takes
  const Index outputs = b.size(0), depth = a.size(1), width = padded<T>(depth);
  ScratchFrame shared;
  T* plain = shared.take<T>(std::min(most, a.size(0)) * width);
  T* rows = shared.take<T>(std::min(most, a.size(0)) * width);
  for (Index row = 0; row < a.size(0); row += most) {
    const Index count = std::min(most, a.size(0) - row);
    copy_rows<T>(a.at(row), a.stride(0), a.stride(1), count, depth, plain, width);
    interleave_rows<T>(plain, width, count, depth, rows);
    const Index ahead = rows_ahead<T>(count, depth, outputs * depth * Index(sizeof(T)));
    parallel_for(device, (outputs + chunk - 1) / chunk, [&](Index unit) {
      const Index output = unit * chunk, some = std::min(chunk, outputs - output);
      ScratchFrame frame;
      T* sum = frame.take<T>(count * chunk);
      if (depth == 0) {
        std::fill_n(sum, count * chunk, T(0));
      } else if (b.stride(1) == 1) {
        row_dot<T>(rows, count, b.at(output), b.stride(0), some, depth, sum, chunk, ahead);
      } else {
        T* copy = frame.take<T>(some * width);
        copy_rows<T>(b.at(output), b.stride(0), b.stride(1), some, depth, copy, width);
        row_dot<T>(rows, count, copy, width, some, depth, sum, chunk);
      }
      for (Index r = 0; r < count; ++r)
        for (Index o = 0; o < some; ++o) {
          const T x = sum[r * chunk + o];
          c(row + r, output + o) = static_cast<UC>(bias.data ? simd::widen<T>(bias(output + o)) + x : x);
        }
    });
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
