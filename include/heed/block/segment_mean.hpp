// SPDX-License-Identifier: Apache-2.0
// segment_mean: the mean of the rows of each segment, and clusters of rows by their cosines.
#pragma once

#include <vector>

#include "heed/block/l2_normalize.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline std::vector<Index> segment_counts(const std::array<Index, 2>& x, const View<const std::int32_t, 1>& segments,
                                         Index count) {
  require(segments.size(0) == x[0], "segment_mean", "segments must have shape (N) = (", x[0], "), got ",
          shape_text(segments.sizes));
  std::vector<Index> result(static_cast<std::size_t>(count));
  for (Index n = 0; n < x[0]; ++n) {
    require(segments(n) < count, "segment_mean", "segment ", segments(n), " (number ", n, ") is none of ", count);
    if (segments(n) >= 0) ++result[std::size_t(segments(n))];
  }
  return result;
}

}  // namespace detail

/// out(s, :) = the mean of the rows n of x with segments(n) = s, 0 if there is none: x (N, C), segments (N) int32 below
/// `count`, negative for rows that are in none, out (count, C) of x's type. Any strides. Throws heed::Error, before
/// anything is written, for a segment beyond count and shapes that do not fit. Time O(N C), on one thread.
///
/// Gradient: of x, segment_mean_backward.
template <Real T>
void segment_mean(const View<const T, 2>& x, const View<const std::int32_t, 1>& segments, const View<T, 2>& out) {
  const auto counts = detail::segment_counts(x.sizes, segments, out.size(0));
  require(out.size(1) == x.size(1), "segment_mean", "out must have rows of ", x.size(1), ", got ",
          shape_text(out.sizes));
  for (Index s = 0; s < out.size(0); ++s)
    for (Index c = 0; c < out.size(1); ++c) out(s, c) = 0;
  for (Index n = 0; n < x.size(0); ++n)
    if (const Index s = segments(n); s >= 0)
      kernel::add_multiple(T(1) / T(counts[std::size_t(s)]), x.at(n), x.stride(1), x.size(1), out.at(s), out.stride(1));
}
template <TensorLike X, TensorLike S>
auto segment_mean(const X& x, const S& segments, Index count) {
  Tensor<ScalarOf<X>, 2> out(count, const_view(x).size(1));
  segment_mean(const_view(x), const_view(segments), view(out));
  return out;
}

/// The gradient of segment_mean, added to d_x; nothing if that has no data.
template <Real T>
void segment_mean_backward(const View<const std::int32_t, 1>& segments, const View<const T, 2>& d_out,
                           const View<T, 2>& d_x) {
  if (!d_x.data) return;
  const auto counts = detail::segment_counts(d_x.sizes, segments, d_out.size(0));
  for (Index n = 0; n < d_x.size(0); ++n)
    if (const Index s = segments(n); s >= 0)
      kernel::add_multiple(T(1) / T(counts[std::size_t(s)]), d_out.at(s), d_out.stride(1), d_out.size(1), d_x.at(n),
                           d_x.stride(1));
}

/// k-means by cosine: the cluster of each row of x (N, C), 0 .. min(clusters, N) - 1. Centres start at the unit rows
/// floor(i N / clusters); `iterations` times rows go to the centre of largest product, of equal ones the first, and a
/// centre becomes the unit sum of its members, unless it has none; then rows are assigned once more. In double. Time
/// O(iterations N clusters C), on one thread.
///
/// No gradient: the choice has none.
template <Operand X>
Tensor<std::int32_t, 1> cosine_clusters(const X& x, Index clusters, Index iterations) {
  const auto from = values_of(x);
  const Index rows = from.size(0), width = from.size(1), count = std::min(clusters, rows);
  Tensor<double, 2> wide(rows, width), centres(count, width);
  for (Index n = 0; n < rows; ++n)
    for (Index c = 0; c < width; ++c) wide(n, c) = double(from(n, c));
  const Tensor<double, 2> unit = l2_normalize(wide);
  for (Index i = 0; i < count; ++i)
    for (Index c = 0; c < width; ++c) centres(i, c) = unit(i * rows / count, c);
  Tensor<std::int32_t, 1> result(rows);
  const auto assign = [&] {
    for (Index n = 0; n < rows; ++n) {
      double most = -std::numeric_limits<double>::infinity();
      result(n) = 0;
      for (Index i = 0; i < count; ++i) {
        double product = 0;
        for (Index c = 0; c < width; ++c) product += unit(n, c) * centres(i, c);
        if (product > most) most = product, result(n) = std::int32_t(i);
      }
    }
  };
  for (Index pass = 0; pass < iterations; ++pass) {
    assign();
    Tensor<double, 2> sums(count, width);
    sums.setZero();
    std::vector<bool> used(static_cast<std::size_t>(count));
    for (Index n = 0; n < rows; ++n) {
      used[std::size_t(result(n))] = true;
      for (Index c = 0; c < width; ++c) sums(result(n), c) += unit(n, c);
    }
    const Tensor<double, 2> moved = l2_normalize(sums);
    for (Index i = 0; i < count; ++i)
      if (used[std::size_t(i)])
        for (Index c = 0; c < width; ++c) centres(i, c) = moved(i, c);
  }
  assign();
  return result;
}

}  // namespace heed::inline HEED_ISA
