// SPDX-License-Identifier: Apache-2.0
// Products of small matrices that lie in the first caches, whole or of a triangle: what a scan does between tokens.
#pragma once

#include "heed/kernel/panel.hpp"
#include "heed/kernel/write.hpp"
#include "heed/simd/convert.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// A matrix of scratch memory whose rows start at whole batches and are padded to them: what lies behind the last
/// column may be read and written, and is finite where it is read as a right factor.
template <Real T>
struct Tile {
  T* data = nullptr;
  Index stride = 0;  ///< from row to row, a multiple of kLanes

  T* row(Index i) const { return data + i * stride; }
};

/// A matrix of any strides, of which single elements are read.
template <Real T>
struct Scalars {
  const T* data = nullptr;
  Index row_step = 0, column_step = 1;

  Scalars(const T* data, Index row_step, Index column_step)
      : data(data), row_step(row_step), column_step(column_step) {}
  Scalars(const Tile<T>& tile) : data(tile.data), row_step(tile.stride) {}  // NOLINT: implicit
  /// The part from an element on.
  Scalars from(Index row, Index column) const {
    return {data + row * row_step + column * column_step, row_step, column_step};
  }
  Scalars transposed() const { return {data, column_step, row_step}; }
};
template <Real T>
Scalars<T> transposed(const Tile<T>& tile) {
  return Scalars<T>(tile).transposed();
}

/// The elements of a left factor that count: all, those with column <= row, or those with column >= row. What lies
/// beyond meets no element of the right factor, so that NaN of a later token stays there.
enum class Part { kAll, kLower, kUpper };

namespace detail {

// acc[r] += the sum over k of a(r, k) b[k], for rows kFirst .. kLast of the block.
template <int kFirst, int kLast, Real T, int R, int NV>
HEED_INLINE void multiply_rows(const T* a, Index row_step, Index depth_step, const T* b, Index b_stride, Index depth,
                               Batch<T> (&acc)[R][NV]) {
  for (Index k = 0; k < depth; ++k) {
    Batch<T> row[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) row[v] = simd::in_register<T>(simd::load_aligned(b + v * simd::kLanes<T>));
#pragma GCC unroll 32
    for (int r = kFirst; r <= kLast; ++r) {
      const Batch<T> scalar = simd::load_broadcast(a + r * row_step);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = simd::fma(scalar, row[v], acc[r][v]);
    }
    a += depth_step;
    b += b_stride;
  }
}

template <int NV, Write write, Part part, Real T>
HEED_NOINLINE void tile_columns(const T* a, Index row_step, Index depth_step, Index rows, Index depth, const T* b,
                                Index b_stride, T* c, Index c_stride, const Upcoming& next) {
  constexpr Index w = simd::kLanes<T>;
  for_row_blocks<kMicroRows<NV>>(rows, [&]<int R>(Index row) {
    next.fetch(row, R);
    Batch<T> acc[R][NV];
    T* const target = c + row * c_stride;
    if constexpr (write == Write::kAdd) {
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[r][v] = simd::load_aligned(target + r * c_stride + v * w);
    } else {
      clear<T>(acc);
    }
    // Columns of a that all rows of the block take, then the square on the diagonal.
    const Index from = part == Part::kUpper ? row + R : 0, to = part == Part::kLower ? row : depth;
    const T* const left = a + row * row_step;
    multiply_rows<0, R - 1>(left + from * depth_step, row_step, depth_step, b + from * b_stride, b_stride, to - from,
                            acc);
    if constexpr (part != Part::kAll) {
      const T* const corner = left + row * depth_step;
      const T* const beside = b + row * b_stride;
      [&]<std::size_t... K>(std::index_sequence<K...>) {
        (multiply_rows < part == Part::kLower ? int(K) : 0,
         part == Part::kLower ? R - 1
                              : int(K) > (corner + Index(K) * depth_step, row_step, depth_step,
                                          beside + Index(K) * b_stride, b_stride, 1, acc),
         ...);
      }
      (std::make_index_sequence<std::size_t(R)>());
    }
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v].store_aligned(target + r * c_stride + v * w);
  });
}

}  // namespace detail

/// c = a b, or c += a b: a (rows, depth), of which `part` counts, b (depth, columns), c (rows, columns); for a triangle
/// rows = depth. Whole batches of columns are written. Sums run along the depth in order. Nothing overlaps. With each
/// row, one of `next` is fetched.
template <Write write = Write::kAssign, Part part = Part::kAll, Real T>
void tile_product(const Scalars<T>& a, Index rows, Index depth, const Tile<T>& b, Index columns, const Tile<T>& c,
                  const Upcoming& next = {}) {
  constexpr Index w = simd::kLanes<T>;
  for (Index column = 0; column < columns; column += kPanelWidth<T>) {
    const int batches = int((std::min<Index>(kPanelWidth<T>, columns - column) + w - 1) / w);
    with_batches(batches, [&]<int NV>() {
      detail::tile_columns<NV, write, part>(a.data, a.row_step, a.column_step, rows, depth, b.data + column, b.stride,
                                            c.data + column, c.stride, column == 0 ? next : Upcoming());
    });
  }
}

/// The part with column <= row of c = a b, for square c, and up to a batch more: 16 rows at a time.
template <Real T>
void tile_product_lower(const Scalars<T>& a, Index rows, Index depth, const Tile<T>& b, const Tile<T>& c) {
  constexpr Index band = 16;
  for (Index row = 0; row < rows; row += band) {
    const Index count = std::min(band, rows - row);
    tile_product(a.from(row, 0), count, depth, b, row + count, Tile<T>{c.row(row), c.stride});
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
