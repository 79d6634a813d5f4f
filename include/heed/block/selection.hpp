// SPDX-License-Identifier: Apache-2.0
// Masks of chosen elements: the largest, those above a threshold, outliers.
#pragma once

#include <cmath>
#include <numeric>
#include <vector>

#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// 1 at the k largest elements of every row of x (.., M), as top_k takes them: ties to the lower index, k clamped.
///
/// No gradient: the choice has none, nor have those below.
template <Device D, Operand X>
auto largest_mask(const D& device, const X& x, Index k) {
  const auto sizes = sizes_of(x);
  Tensor<std::uint8_t, kOperandRank<X>> mask;
  mask.resize(sizes);
  mask.setZero();
  const Index width = sizes.back(), chosen = std::min(k, width);
  const auto best = top_k(device, x, chosen).indices;
  for (Index i = 0; i < best.size(); ++i)
    if (best.data()[i] >= 0) mask.data()[i / chosen * width + best.data()[i]] = 1;
  return mask;
}

/// 0 at `count` of the k largest elements of every row of x (.., M), 1 elsewhere: those whose ranks come first when the
/// row of draws (.., k) is ordered increasingly; k at most M.
template <Device D, Operand X, TensorLike R>
auto random_drop_mask(const D& device, const X& x, const R& draws, Index count) {
  constexpr std::string_view name = "random_drop_mask";
  auto sizes = sizes_of(x);
  const auto random = const_view(draws);
  Tensor<std::uint8_t, kOperandRank<X>> keep;
  keep.resize(sizes);
  keep.setConstant(1);
  const Index width = sizes.back(), k = random.sizes.back();
  require(k <= width && count >= 0 && count <= k, name, count, " of the ", k, " largest of ", width,
          " elements cannot be dropped");
  sizes.back() = k;
  require_shape(name, "the draws", random.sizes, sizes);
  const auto best = top_k(device, x, k).indices;
  const kernel::Rows rows(random);
  std::vector<Index> order(static_cast<std::size_t>(k));
  for (Index r = 0; r < rows.count(); ++r) {
    const auto* const row = rows.row(r);
    std::iota(order.begin(), order.end(), Index(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](Index a, Index b) { return row[a * rows.stride()] < row[b * rows.stride()]; });
    for (Index i = 0; i < count; ++i)
      if (const Index at = best.data()[r * k + order[std::size_t(i)]]; at >= 0) keep.data()[r * width + at] = 0;
  }
  return keep;
}

/// 1 where (x - min) / (max - min) of the row of x (.., M) is above the threshold; 0 in a row of equal elements.
template <TensorLike X>
auto above_in_range(const X& x, double threshold) {
  const kernel::Rows rows(const_view(x));
  Tensor<std::uint8_t, kRankOf<X>> mask;
  mask.resize(const_view(x).sizes);
  for (Index r = 0; r < rows.count() && rows.width() > 0; ++r) {
    const auto at = [&](Index j) { return double(rows.row(r)[j * rows.stride()]); };
    double low = at(0), high = at(0);
    for (Index j = 1; j < rows.width(); ++j) low = std::min(low, at(j)), high = std::max(high, at(j));
    for (Index j = 0; j < rows.width(); ++j)
      mask.data()[r * rows.width() + j] = high > low && (at(j) - low) / (high - low) > threshold;
  }
  return mask;
}

/// How many elements of x (M) lie above Q3 + 1.5 (Q3 - Q1), the quartiles by linear interpolation.
template <TensorLike X>
Index count_outliers(const X& x) {
  const auto from = const_view(x);
  std::vector<double> sorted;
  for (Index i = 0; i < from.size(0); ++i) sorted.push_back(double(from(i)));
  if (sorted.empty()) return 0;
  std::sort(sorted.begin(), sorted.end());
  const auto quantile = [&](double q) {
    const double place = q * double(sorted.size() - 1);
    const std::size_t low = std::size_t(place), high = std::min(low + 1, sorted.size() - 1);
    return sorted[low] + (place - double(low)) * (sorted[high] - sorted[low]);
  };
  const double q1 = quantile(0.25), q3 = quantile(0.75), limit = q3 + 1.5 * (q3 - q1);
  return Index(std::count_if(sorted.begin(), sorted.end(), [&](double value) { return value > limit; }));
}

}  // namespace heed::inline HEED_ISA
