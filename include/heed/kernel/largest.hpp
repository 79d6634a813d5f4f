// SPDX-License-Identifier: Apache-2.0
// The places of the largest elements of a row, without sorting it.
#pragma once

#include <bit>

#include "heed/kernel/top_k.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// How many of a contiguous row are above a threshold; NaN is not.
template <Real T>
Index count_above(const T* row, Index width, T threshold) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> t(threshold);
  Index count = 0, i = 0;
  for (; i + w <= width; i += w) count += std::popcount(simd::lane_bits<T>(simd::load(row + i) > t));
  for (; i < width; ++i) count += row[i] > threshold;
  return count;
}

/// Calls f(i), ascending, for the elements of a contiguous row that are `least` or more.
template <Real T, class F>
void for_each_from(const T* row, Index width, T least, const F& f) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> t(least);
  Index i = 0;
  for (; i + w <= width; i += w)
    for (auto bits = simd::lane_bits<T>(simd::load(row + i) >= t); bits != 0; bits &= bits - 1)
      f(i + std::countr_zero(bits));
  for (; i < width; ++i)
    if (row[i] >= least) f(i);
}

/// The indices of the first k of a contiguous row in the order of ranks_before, ascending, into `list`, which has room
/// for k; returns how many there are. Elements that are -infinity or NaN are none. Halves the range of values that
/// holds the k-th until few elements are left in it, each time by one pass of comparisons: about log2(width) passes,
/// and no sort. `spare` has room for kLargestSpare.
inline constexpr Index kLargestSpare = 64;

template <Real T>
Index largest_indices(const T* row, Index width, Index k, std::int32_t* list, Ranked<T>* spare) {
  constexpr Index w = simd::kLanes<T>;
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  if (k <= 0) return 0;
  // The range of the elements that count.
  const simd::Batch<T> none(kNone), endless(-kNone);
  simd::Batch<T> highest = none, lowest = endless;
  for (Index i = 0; i < width; i += w) {
    const auto x = i + w <= width ? simd::load(row + i) : simd::load_partial<T>(row + i, width - i);
    const auto is =
        i + w <= width
            ? x > none
            : simd::to_mask<T>(simd::iota<T>() < simd::IndexBatch<T>(simd::IndexLane<T>(width - i))) && x > none;
    highest = simd::max(highest, simd::select(is, x, none));
    lowest = simd::min(lowest, simd::select(is, x, endless));
  }
  T high = simd::reduce_max<T>(highest), low = -simd::reduce_max<T>(-lowest);
  const Index valid = count_above(row, width, kNone);
  // The last one that is taken: all that rank before it, and itself.
  Ranked<T> last{kNone, std::numeric_limits<std::int32_t>::max()};
  if (valid > k) {
    Index above_low = valid, above_high = 0;  // elements above `below` and above `high`; below < the k-th <= high
    T below = kNone, middle = low;
    if (constexpr T kMost = std::numeric_limits<T>::max(); high > kMost) {
      const Index endless_ones = count_above(row, width, kMost);
      if (endless_ones >= k) {
        below = kMost;
        above_low = endless_ones;
      } else {
        high = kMost;
        above_high = endless_ones;
      }
    }
    // Until a number parts the first k from the others; until few are between, whose order costs more than another pass
    // if the row is short; or, of ties, until no number is left between.
    const Index few = std::clamp<Index>(width / 64, 4, kLargestSpare);
    while (above_low - above_high > few && above_low > k) {
      if (below != kNone) middle = below / 2 + high / 2;
      if (!(middle < high) || !(middle > below)) break;
      const Index above = count_above(row, width, middle);
      (above >= k ? below : high) = middle;
      (above >= k ? above_low : above_high) = above;
      if (below == kNone) break;  // ties with the lowest fill the list
    }
    const Index wanted = k - above_high;
    if (above_low == k && below > kNone) {
      last = {below, -1};
    } else if (above_low - above_high > kLargestSpare) {  // all between are equal
      Index i = 0;
      for (Index left = wanted; left > 0; ++i) left -= row[i] == high;
      last = {high, std::int32_t(i - 1)};
    } else {
      Index count = 0;
      for_each_from(row, width, below, [&](Index i) {
        if (row[i] > below && row[i] <= high) spare[count++] = {row[i], std::int32_t(i)};
      });
      std::nth_element(spare, spare + wanted - 1, spare + count, ranks_before<T>);
      last = spare[wanted - 1];
    }
  }
  Index count = 0;
  for_each_from(row, width, std::max(last.value, std::numeric_limits<T>::lowest()), [&](Index i) {
    if (row[i] > last.value || i <= last.index) list[count++] = std::int32_t(i);
  });
  return count;
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
