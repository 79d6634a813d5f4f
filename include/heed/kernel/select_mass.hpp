// SPDX-License-Identifier: Apache-2.0
// The largest elements that sum to a given mass.
#pragma once

#include "heed/kernel/top_k.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Puts the fewest of the `count` elements whose values reach `mass` in front, taken by ranks_before, at least one, all
/// of them if they never reach it; returns how many. Their order is not kept. Values of 0 or more. Halves the range
/// that holds the last one: O(count) in the mean, and nothing is sorted.
template <Real T>
Index select_mass(Ranked<T>* elements, Index count, double mass) {
  Index first = 0, last = count;  // the number is in (first, last]
  double taken = 0;               // of the elements before `first`
  while (last - first > 1) {
    const Index middle = first + (last - first) / 2;
    std::nth_element(elements + first, elements + middle, elements + last, ranks_before<T>);
    double sum = taken;
    for (Index i = first; i < middle; ++i) sum += double(elements[i].value);
    if (sum >= mass) {
      last = middle;
    } else {
      taken = sum;
      first = middle;
    }
  }
  return last;
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
