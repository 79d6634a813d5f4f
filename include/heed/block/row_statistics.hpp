// SPDX-License-Identifier: Apache-2.0
// Statistics of maps: rows brought to one scale, cells pooled in time, and the correlation of two maps.
#pragma once

#include <cmath>

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

enum class RowScale {
  kZscore,  ///< minus the mean, over the standard deviation of a sample
  kMinmax,  ///< to 0 .. 1
  kNone,
};

/// The rows of x (I, T) brought to one scale; a row of equal elements becomes 0 by kZscore and kMinmax. In double.
///
/// No gradient: it is for measurement, as are those below.
template <TensorLike X>
Tensor<double, 2> scale_rows(const X& x_like, RowScale how) {
  const auto x = const_view(x_like);
  const Index width = x.size(1);
  Tensor<double, 2> out(x.size(0), width);
  for (Index i = 0; i < x.size(0); ++i) {
    double mean = 0, square = 0, low = width > 0 ? double(x(i, 0)) : 0, high = low;
    for (Index t = 0; t < width; ++t) {
      const double value = double(x(i, t));
      mean += value / double(width);
      low = std::min(low, value), high = std::max(high, value);
    }
    for (Index t = 0; t < width; ++t) square += (double(x(i, t)) - mean) * (double(x(i, t)) - mean);
    double shift = 0, factor = 1;
    if (how == RowScale::kZscore) shift = mean, factor = high > low ? 1 / std::sqrt(square / double(width - 1)) : 0;
    if (how == RowScale::kMinmax) shift = low, factor = high > low ? 1 / (high - low) : 0;
    for (Index t = 0; t < width; ++t) out(i, t) = (double(x(i, t)) - shift) * factor;
  }
  return out;
}

/// x (I, T) pooled to (I, cells): cell i is the mean or the largest of columns floor(i T / cells) up to, not including,
/// ceil((i + 1) T / cells). In double.
template <TensorLike X>
Tensor<double, 2> pool_columns(const X& x_like, Index cells, bool largest) {
  const auto x = const_view(x_like);
  const Index width = x.size(1);
  require(width > 0 || cells == 0, "pool_columns", "no columns cannot become ", cells);
  Tensor<double, 2> out(x.size(0), cells);
  for (Index i = 0; i < x.size(0); ++i)
    for (Index cell = 0; cell < cells; ++cell) {
      const Index begin = cell * width / cells, end = ((cell + 1) * width + cells - 1) / cells;
      double total = 0, most = double(x(i, begin));
      for (Index t = begin; t < end; ++t) total += double(x(i, t)), most = std::max(most, double(x(i, t)));
      out(i, cell) = largest ? most : total / double(end - begin);
    }
  return out;
}

/// Pearson's correlation of two tensors of one shape, 0 where one of them is constant. In double.
template <TensorLike X, TensorLike Y>
double correlation(const X& x_like, const Y& y_like) {
  const auto x = const_view(x_like);
  const auto y = const_view(y_like);
  require_shape("correlation", "y", y.sizes, x.sizes);
  const auto count = double(x.count());
  double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
  bool x_varies = false, y_varies = false;  // by the sums of squares alone a rounded mean would pass for variation
  const auto each = [&](const auto& f) {
    for (Index i = 0; i < x.size(0); ++i)
      for (Index t = 0; t < x.size(1); ++t) f(double(x(i, t)), double(y(i, t)));
  };
  each([&](double a, double b) { mean_x += a / count, mean_y += b / count; });
  each([&](double a, double b) {
    xx += (a - mean_x) * (a - mean_x), yy += (b - mean_y) * (b - mean_y), xy += (a - mean_x) * (b - mean_y);
    x_varies = x_varies || a != double(x(0, 0)), y_varies = y_varies || b != double(y(0, 0));
  });
  return x_varies && y_varies ? xy / std::sqrt(xx * yy) : 0;
}

}  // namespace heed::inline HEED_ISA
