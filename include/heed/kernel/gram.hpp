// SPDX-License-Identifier: Apache-2.0
// Products of long rows with long rows: few rows, many columns, on the panels of the fused kernel.
#pragma once

#include "heed/core/scratch.hpp"
#include "heed/core/tensor.hpp"
#include "heed/kernel/panel.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Columns that are packed at a time: two panels of 64 rows and the sums (48 KiB) stay in the caches next to the core.
inline constexpr Index kGramDepth = 64;

/// Elements of a tile: kPanelWidth rows of kPanelWidth products, the squares of a's rows, and those of b's.
template <Real T>
inline constexpr Index kGramTile = (kPanelWidth<T> + 2) * kPanelWidth<T>;

namespace detail {

// sums[i] += sum over d of panel[d][i]^2.
template <int NV, Real T>
HEED_NOINLINE void add_squares(const T* panel, Index depth, T* sums) {
  constexpr Index w = simd::kLanes<T>;
  Batch<T> acc[NV];
  for (int v = 0; v < NV; ++v) acc[v] = simd::load_aligned(sums + v * w);
  for (Index d = 0; d < depth; ++d)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const Batch<T> x = simd::load_aligned(panel + d * kPanelWidth<T> + v * w);
      acc[v] = simd::fma(x, x, acc[v]);
    }
  for (int v = 0; v < NV; ++v) acc[v].store_aligned(sums + v * w);
}

template <Real T>
int batches_of(Index count) {
  return int((count + simd::kLanes<T> - 1) / simd::kLanes<T>);
}

}  // namespace detail

/// tile[i][j] = sum over n of a(i, n) b(j, n), for up to kPanelWidth rows of a and of b, of any strides and storage,
/// and the sums of the squares of each row. In place of b's rows its columns may lie in memory one behind the other:
/// tokens (N, C) and maps (C, N) are packed alike. Blocks of kGramDepth are summed in order.
template <Real T, class UA, class UB>
void gram(const View<const UA, 2>& a, const View<const UB, 2>& b, T* tile) {
  constexpr Index width = kPanelWidth<T>;
  ScratchFrame frame;
  T* const left = frame.take<T>(kGramDepth * width);
  T* const right = frame.take<T>(kGramDepth * width);
  T* const a_squares = tile + width * width;
  T* const b_squares = a_squares + width;
  std::fill_n(a_squares, 2 * width, T(0));
  if (a.size(1) == 0) std::fill_n(tile, width * width, T(0));
  simd::Batch<T> ones[kPanelBatches];
  std::fill_n(ones, kPanelBatches, simd::Batch<T>(T(1)));
  for (Index first = 0; first < a.size(1); first += kGramDepth) {
    const Index depth = std::min(kGramDepth, a.size(1) - first);
    rows_to_panel<T>(a.at(0, first), a.stride(0), a.stride(1), a.size(0), depth, T(1), left);
    rows_to_panel<T>(b.at(0, first), b.stride(0), b.stride(1), b.size(0), depth, T(1), right);
    with_batches(detail::batches_of<T>(a.size(0)), [&]<int NV>() { detail::add_squares<NV>(left, depth, a_squares); });
    with_batches(detail::batches_of<T>(b.size(0)), [&]<int NV>() {
      detail::add_squares<NV>(right, depth, b_squares);
      panel_accumulate<NV>(left, width, a.size(0), right, depth, tile, first == 0 ? nullptr : ones);
    });
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
