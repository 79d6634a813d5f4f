// SPDX-License-Identifier: Apache-2.0
// The largest elements over axes of views of any strides.
#pragma once

#include <limits>

#include "heed/core/scratch.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// The larger of two, NaN if either is.
template <Real T>
HEED_INLINE simd::Batch<T> larger(simd::Batch<T> a, simd::Batch<T> b) {
  return simd::select(b == b, simd::select(b > a, b, a), b);  // x != x is false for NaN in xsimd 8.1
}
template <Real T>
HEED_INLINE T larger(T a, T b) {
  return b > a || b != b ? b : a;
}

/// out = the largest of x over the axes on which out, of x's shape, has stride 0; NaN if there is one. They must not be
/// empty.
template <Real T, class D, class U, class UO, int Rank>
void maximum(const D& device, const View<const U, Rank>& x, const View<UO, Rank>& out) {
  using Batch = simd::Batch<T>;
  constexpr Index w = simd::kLanes<T>;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  if (x.count() == 0) return;
  const detail::LoopNest loops(x.sizes, std::array{out.strides, x.strides});
  const Index size = loops.inner.size, to_stride = loops.inner.strides[0], stride = loops.inner.strides[1];
  const bool along_rows = to_stride == 0;
  const Index width = along_rows ? size : std::min(size, detail::kSumColumns);
  const Index blocks = (size + width - 1) / width, cells = loops.kept.size * blocks;
  const Index together = std::max<Index>(1, detail::kElementwiseGrain / (width * loops.reduced.size));
  parallel_for(device, (cells + together - 1) / together, [&](Index unit) {
    for (Index cell = unit * together; cell < std::min(cells, (unit + 1) * together); ++cell) {
      detail::LoopNest::Offsets at{};
      loops.advance(at, loops.kept, cell / blocks);
      const auto row = [&](Index r) {
        detail::LoopNest::Offsets to = at;
        loops.advance(to, loops.reduced, r);
        return x.data + to[1];
      };
      if (along_rows) {
        Batch most[4] = {Batch(lowest), Batch(lowest), Batch(lowest), Batch(lowest)};
        T rest = lowest;
        for (Index r = 0; r < loops.reduced.size; ++r) {
          const U* const from = row(r);
          Index c = 0;
          if (stride == 1) {
            for (; c + 4 * w <= size; c += 4 * w) {
#pragma GCC unroll 4
              for (int part = 0; part < 4; ++part)
                most[part] = larger<T>(most[part], simd::load_as<T>(from + c + part * w));
            }
            for (; c + w <= size; c += w) most[0] = larger<T>(most[0], simd::load_as<T>(from + c));
          }
          for (; c < size; ++c) rest = larger<T>(rest, simd::widen<T>(from[c * stride]));
        }
        alignas(64) T lanes[w];
        larger<T>(larger<T>(most[0], most[1]), larger<T>(most[2], most[3])).store_aligned(lanes);
        for (const T lane : lanes) rest = larger<T>(rest, lane);
        out.data[at[0]] = static_cast<UO>(rest);
      } else {
        const Index first = cell % blocks * width, columns = std::min(width, size - first);
        alignas(64) T most[detail::kSumColumns];
        std::fill_n(most, detail::kSumColumns, lowest);
        for (Index r = 0; r < loops.reduced.size; ++r) {
          const U* const from = row(r) + first * stride;
          for (Index c = 0; c < columns; c += w)
            larger<T>(simd::load_aligned(most + c), simd::load_strided<T>(from + c * stride, stride, columns - c))
                .store_aligned(most + c);
        }
        for (Index c = 0; c < columns; c += w)
          detail::store_strided<T>(simd::load_aligned(most + c), out.data + at[0] + (first + c) * to_stride, to_stride,
                                   columns - c);
      }
    }
  });
}

/// The gradient of maximum, added to d_x at the first element, in row-major order, that equals the result. out and
/// d_out have x's shape and stride 0 where they were reduced.
template <Real T, class D, int Rank>
void maximum_backward(const D& device, const View<const T, Rank>& x, const View<const T, Rank>& out,
                      const View<const T, Rank>& d_out, const View<T, Rank>& d_x) {
  if (x.count() == 0) return;
  const detail::LoopNest loops(x.sizes, std::array{out.strides, d_out.strides, x.strides, d_x.strides});
  const auto& step = loops.inner.strides;
  const bool along_rows = step[0] == 0;
  const Index width = along_rows ? loops.inner.size : std::min(loops.inner.size, detail::kSumColumns);
  const Index blocks = (loops.inner.size + width - 1) / width, cells = loops.kept.size * blocks;
  const Index together = std::max<Index>(1, detail::kElementwiseGrain / (width * loops.reduced.size));
  parallel_for(device, (cells + together - 1) / together, [&](Index unit) {
    for (Index cell = unit * together; cell < std::min(cells, (unit + 1) * together); ++cell) {
      detail::LoopNest::Offsets at{};
      loops.advance(at, loops.kept, cell / blocks);
      const Index first = cell % blocks * width, columns = std::min(width, loops.inner.size - first);
      bool found[detail::kSumColumns] = {};
      Index missing = along_rows ? 1 : columns;
      for (Index r = 0; r < loops.reduced.size && missing > 0; ++r) {
        detail::LoopNest::Offsets to = at;
        loops.advance(to, loops.reduced, r);
        for (Index c = 0; c < columns; ++c) {
          bool& done = found[along_rows ? 0 : c];
          if (done || x.data[to[2] + (first + c) * step[2]] != out.data[at[0] + (first + c) * step[0]]) continue;
          d_x.data[to[3] + (first + c) * step[3]] += d_out.data[at[1] + (first + c) * step[1]];
          done = true;
          if (--missing == 0) break;
        }
      }
    }
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
