// SPDX-License-Identifier: Apache-2.0
// top_k_ascending: which entries of rows of scores are the largest.
#pragma once

#include <algorithm>
#include <cstdint>

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// The indices of the k largest of each row (.., R), in ascending order of index; of equal ones the lower index is
/// taken. scores (B, H, N, R) of any strides, result (B, H, N, k). Where `shared` is an axis, 1 or 2, a score is replaced
/// by its largest along that axis, so that all of it choose alike. NaN counts as the smallest. Throws heed::Error if k is
/// not in 0 .. R. Time O(R k) a row.
///
/// No gradient: the result is integers.
template <Device D, TensorLike X>
Tensor<std::int32_t, 4> top_k_ascending(const D& device, const X& scores_like, Index k, int shared = -1) {
  using T = ScalarOf<X>;
  const auto scores = const_view(scores_like);
  const auto sizes = scores.sizes;
  require(k >= 0 && k <= sizes[3], "top_k_ascending", "k must be in 0 .. ", sizes[3], ", got ", k);
  Tensor<std::int32_t, 4> chosen(sizes[0], sizes[1], sizes[2], k);
  parallel_for(device, sizes[0] * sizes[1] * sizes[2], [&](Index unit) {
    std::array<Index, 3> at{unit / sizes[2] / sizes[1], unit / sizes[2] % sizes[1], unit % sizes[2]};
    ScratchFrame frame;
    T* const row = frame.take<T>(sizes[3]);
    std::fill_n(row, sizes[3], -std::numeric_limits<T>::infinity());
    const Index others = shared < 0 ? 1 : sizes[std::size_t(shared)];
    for (Index other = 0; other < others; ++other) {
      auto from = at;
      if (shared >= 0) from[std::size_t(shared)] = other;
      for (Index r = 0; r < sizes[3]; ++r) {
        const T x = scores(from[0], from[1], from[2], r);
        if (x > row[r]) row[r] = x;
      }
    }
    std::int32_t* const result = chosen.data() + unit * k;
    std::uint8_t* const taken = frame.take<std::uint8_t>(sizes[3]);
    std::fill_n(taken, sizes[3], std::uint8_t(0));
    for (Index i = 0; i < k; ++i) {
      Index best = -1;
      for (Index r = 0; r < sizes[3]; ++r)
        if (!taken[r] && (best < 0 || row[r] > row[best])) best = r;
      taken[best] = 1;
      result[i] = std::int32_t(best);
    }
    std::sort(result, result + k);
  });
  return chosen;
}

}  // namespace heed::inline HEED_ISA
