// SPDX-License-Identifier: Apache-2.0
// Rows matched to rows by their distance: the nearest, or one to one with the least total.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "heed/core/operand.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Euclidean distances of the rows of x (N, C) to those of y (K, C), in double.
template <class UX, class UY>
std::vector<double> row_distances(std::string_view where, const View<const UX, 2>& x, const View<const UY, 2>& y) {
  require(x.size(1) == y.size(1), where, "rows of ", shape_text(x.sizes), " and ", shape_text(y.sizes),
          " have not one width");
  std::vector<double> result;
  result.reserve(std::size_t(x.size(0) * y.size(0)));
  for (Index i = 0; i < x.size(0); ++i)
    for (Index j = 0; j < y.size(0); ++j) {
      double sum = 0;
      for (Index c = 0; c < x.size(1); ++c) {
        const double d = double(x(i, c)) - double(y(j, c));
        sum += d * d;
      }
      result.push_back(std::sqrt(sum));
    }
  return result;
}

}  // namespace detail

/// For each row of x (N, C) the index of the nearest row of y (K, C), the lower one of equally near ones; several may
/// get the same. Throws heed::Error for N > 0 without rows of y. Time O(N K C).
///
/// No gradient: the choice has none.
template <Operand X, Operand Y>
Tensor<std::int32_t, 1> nearest_rows(const X& x, const Y& y) {
  const Index rows = sizes_of(x)[0], choices = sizes_of(y)[0];
  require(rows == 0 || choices > 0, "nearest_rows", "there are no rows to choose from");
  const auto cost = detail::row_distances("nearest_rows", values_of(x), values_of(y));
  Tensor<std::int32_t, 1> result(rows);
  for (Index i = 0; i < rows; ++i) {
    const auto row = cost.begin() + i * choices;
    result(i) = std::int32_t(std::min_element(row, row + choices) - row);
  }
  return result;
}

/// A row of y (K, C) for each row of x (N, C), no row twice, such that the sum of their Euclidean distances is least:
/// the Hungarian method, by shortest augmenting paths with potentials. Throws heed::Error for N > K. Time O(N K C + N^2
/// K), on one thread.
///
/// No gradient: the choice has none.
template <Operand X, Operand Y>
Tensor<std::int32_t, 1> assign_rows(const X& x, const Y& y) {
  const Index rows = sizes_of(x)[0], columns = sizes_of(y)[0];
  require(rows <= columns, "assign_rows", rows, " rows cannot be assigned to ", columns, " one to one");
  const auto cost = detail::row_distances("assign_rows", values_of(x), values_of(y));
  const auto size = [](Index n) { return static_cast<std::size_t>(n); };
  constexpr double none = std::numeric_limits<double>::infinity();
  // Row and column 0 stand for "nobody"; owner[j] is the row that column j belongs to.
  std::vector<double> of_row(size(rows + 1)), of_column(size(columns + 1));
  std::vector<std::size_t> owner(size(columns + 1)), from(size(columns + 1));
  for (std::size_t i = 1; i <= size(rows); ++i) {
    std::vector<double> least(size(columns + 1), none);
    std::vector<bool> done(size(columns + 1));
    owner[0] = i;
    std::size_t column = 0;
    do {
      done[column] = true;
      const std::size_t row = owner[column];
      double step = none;
      std::size_t next = 0;
      for (std::size_t j = 1; j <= size(columns); ++j) {
        if (done[j]) continue;
        const double reduced = cost[(row - 1) * size(columns) + j - 1] - of_row[row] - of_column[j];
        if (reduced < least[j]) least[j] = reduced, from[j] = column;
        if (least[j] < step || next == 0) step = least[j], next = j;
      }
      for (std::size_t j = 0; j <= size(columns); ++j) {
        if (done[j]) {
          of_row[owner[j]] += step;
          of_column[j] -= step;
        } else {
          least[j] -= step;
        }
      }
      column = next;
    } while (owner[column] != 0);
    for (; column != 0; column = from[column]) owner[column] = owner[from[column]];
  }
  Tensor<std::int32_t, 1> result(rows);
  for (std::size_t j = 1; j <= size(columns); ++j)
    if (owner[j] > 0) result(Index(owner[j]) - 1) = std::int32_t(j - 1);
  return result;
}

}  // namespace heed::inline HEED_ISA
