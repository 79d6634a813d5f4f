// SPDX-License-Identifier: Apache-2.0
// The largest elements of a row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "heed/simd/convert.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// An element of a row and where it stands.
template <Real T>
struct Ranked {
  T value;
  std::int32_t index;
};

/// Whether a comes before b: by value from the largest on, and of equal ones the lower index first.
template <Real T>
bool ranks_before(const Ranked<T>& a, const Ranked<T>& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

/// The first k of a contiguous row in the order of ranks_before, into `best`, which has room for k; returns how many
/// there are. Elements that are -infinity or NaN are none. Most batches of a long row hold nothing larger than the k-th
/// so far and cost a comparison; O(width + k log k log width) for a row in random order.
template <Real T>
Index top_k(const T* row, Index width, Index k, Ranked<T>* best) {
  constexpr Index w = simd::kLanes<T>;
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  Index count = 0;
  // A heap with the last of the best in front. A later element that only equals it does not take its place.
  T least = kNone;
  const auto offer = [&](Index i) {
    if (!(row[i] > least)) return;
    if (count == k) std::pop_heap(best, best + count--, ranks_before<T>);
    best[count++] = {row[i], std::int32_t(i)};
    std::push_heap(best, best + count, ranks_before<T>);
    if (count == k) least = best[0].value;
  };
  if (k > 0) {
    Index i = 0;
    for (; i + w <= width; i += w) {
      if (!simd::any(simd::load(row + i) > simd::Batch<T>(least))) continue;
      for (Index lane = 0; lane < w; ++lane) offer(i + lane);
    }
    for (; i < width; ++i) offer(i);
  }
  std::sort_heap(best, best + count, ranks_before<T>);
  return count;
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
