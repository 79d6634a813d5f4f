// SPDX-License-Identifier: Apache-2.0
// Planes mapped axis by axis to weighted sums of neighbours (average pooling, resizing) or to the largest of them.
#pragma once

#include "heed/kernel/maximum.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Of one axis: output i reads inputs starts[i] to starts[i] + counts[i], the k-th of them times
/// weights[i * stride + k].
template <Real T>
struct AxisWindows {
  Index size = 0;
  Index stride = 0;
  Index* starts = nullptr;
  Index* counts = nullptr;
  T* weights = nullptr;

  /// Room for `size` windows of at most `most` inputs.
  AxisWindows(ScratchFrame& frame, Index size, Index most)
      : size(size),
        stride(most),
        starts(frame.take<Index>(size)),
        counts(frame.take<Index>(size)),
        weights(frame.take<T>(size * most)) {}

  void set(Index i, Index start, Index count, T weight) {
    starts[i] = start;
    counts[i] = count;
    std::fill_n(weights + i * stride, count, weight);
  }
};

namespace detail {

inline constexpr Index kPlaneUnit = 8192;  // elements that make a unit of work, a few microseconds

// Calls f(b, c) for every plane of x, several to a unit of work.
template <class D, class UX, class F>
void for_each_plane(const D& device, const View<UX, 4>& x, const F& f) {
  const Index planes = x.size(0) * x.size(1);
  const Index together = std::max<Index>(1, kPlaneUnit / std::max<Index>(1, x.size(2) * x.size(3)));
  parallel_for(device, (planes + together - 1) / together, [&](Index unit) {
    for (Index plane = unit * together; plane < std::min(planes, (unit + 1) * together); ++plane)
      f(plane / x.size(1), plane % x.size(1));
  });
}

}  // namespace detail

/// out(b, c, i, j) = the sum over both windows of their weights times x(b, c, ..). Rows first, with the lanes along the
/// width; the same bits for any batch and number of threads.
template <Real T, class D, class UX, class UO>
void resample(const D& device, const View<const UX, 4>& x, const AxisWindows<T>& rows, const AxisWindows<T>& columns,
              const View<UO, 4>& out) {
  const Index width = x.size(3);
  detail::for_each_plane(device, x, [&](Index b, Index c) {
    ScratchFrame frame;
    T* const sum = frame.take<T>(width);
    T* const scratch = frame.take<T>(width);
    for (Index i = 0; i < rows.size; ++i) {
      const T* const weights = rows.weights + i * rows.stride;
      const auto row_at = [&](Index k) {
        return packed<T>(x.at(b, c, rows.starts[i] + k), x.stride(3), width, scratch);
      };
      const T* mixed = sum;
      if (rows.counts[i] == 1 && weights[0] == T(1)) {
        mixed = row_at(0);
      } else {
        std::fill_n(sum, width, T(0));
        for (Index k = 0; k < rows.counts[i]; ++k) {
          const T* const row = row_at(k);
          const simd::Batch<T> weight(weights[k]);
          for_lanes<T>(width, [&](Index j, auto lanes) {
            simd::store_partial<T>(simd::fma(weight, load_lanes<T>(row + j, lanes), load_lanes<T>(sum + j, lanes)),
                                   sum + j, lanes);
          });
        }
      }
      UO* const to = out.at(b, c, i);
      for (Index j = 0; j < columns.size; ++j) {
        const T* const from = mixed + columns.starts[j];
        const T* const by = columns.weights + j * columns.stride;
        T total = from[0] * by[0];
        for (Index k = 1; k < columns.counts[j]; ++k) total += from[k] * by[k];
        to[j * out.stride(3)] = static_cast<UO>(total);
      }
    }
  });
}

/// The gradient of resample, added to d_x.
template <Real T, class D>
void resample_backward(const D& device, const View<const T, 4>& d_out, const AxisWindows<T>& rows,
                       const AxisWindows<T>& columns, const View<T, 4>& d_x) {
  const Index width = d_x.size(3);
  detail::for_each_plane(device, d_x, [&](Index b, Index c) {
    ScratchFrame frame;
    T* const spread = frame.take<T>(width);
    for (Index i = 0; i < rows.size; ++i) {
      std::fill_n(spread, width, T(0));
      for (Index j = 0; j < columns.size; ++j)
        for (Index k = 0; k < columns.counts[j]; ++k)
          spread[columns.starts[j] + k] += d_out(b, c, i, j) * columns.weights[j * columns.stride + k];
      for (Index k = 0; k < rows.counts[i]; ++k)
        add_rows<T>(spread, width, 1, width, rows.weights[i * rows.stride + k], d_x.at(b, c, rows.starts[i] + k), 0,
                    d_x.stride(3));
    }
  });
}

/// out(b, c, i, j) = the largest of x in both windows, NaN if one is there; the weights play no part.
template <Real T, class D, class UX, class UO>
void max_pool(const D& device, const View<const UX, 4>& x, const AxisWindows<T>& rows, const AxisWindows<T>& columns,
              const View<UO, 4>& out) {
  const Index width = x.size(3);
  detail::for_each_plane(device, x, [&](Index b, Index c) {
    ScratchFrame frame;
    T* const most = frame.take<T>(width);
    T* const scratch = frame.take<T>(width);
    for (Index i = 0; i < rows.size; ++i) {
      for (Index k = 0; k < rows.counts[i]; ++k) {
        const T* const row = packed<T>(x.at(b, c, rows.starts[i] + k), x.stride(3), width, scratch);
        if (k == 0) {
          std::copy_n(row, width, most);
          continue;
        }
        for_lanes<T>(width, [&](Index j, auto lanes) {
          simd::store_partial<T>(larger<T>(load_lanes<T>(most + j, lanes), load_lanes<T>(row + j, lanes)), most + j,
                                 lanes);
        });
      }
      UO* const to = out.at(b, c, i);
      for (Index j = 0; j < columns.size; ++j) {
        T value = most[columns.starts[j]];
        for (Index k = 1; k < columns.counts[j]; ++k) value = larger<T>(value, most[columns.starts[j] + k]);
        to[j * out.stride(3)] = static_cast<UO>(value);
      }
    }
  });
}

/// The gradient of max_pool, added to d_x at the first element of a window, in row-major order, that equals its result.
template <Real T, class D>
void max_pool_backward(const D& device, const View<const T, 4>& x, const View<const T, 4>& out,
                       const View<const T, 4>& d_out, const AxisWindows<T>& rows, const AxisWindows<T>& columns,
                       const View<T, 4>& d_x) {
  detail::for_each_plane(device, x, [&](Index b, Index c) {
    for (Index i = 0; i < rows.size; ++i)
      for (Index j = 0; j < columns.size; ++j) {
        const T most = out(b, c, i, j);
        const auto pass = [&] {
          for (Index u = rows.starts[i]; u < rows.starts[i] + rows.counts[i]; ++u)
            for (Index v = columns.starts[j]; v < columns.starts[j] + columns.counts[j]; ++v)
              if (x(b, c, u, v) == most) {
                d_x(b, c, u, v) += d_out(b, c, i, j);
                return;
              }
        };
        pass();
      }
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
