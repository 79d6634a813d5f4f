// SPDX-License-Identifier: Apache-2.0
// Tokens hashed by random rotations, and sorted by their buckets.
#pragma once

#include <cstdint>
#include <vector>

#include "heed/core/device.hpp"
#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// The buckets (B, R, N) of every round, and the order in which their tokens stand: `token` (B, R N), round by round,
/// by bucket, then by position; `place` (B, 1, N, R), where a token stands in each round.
struct LshOrder {
  Tensor<std::int32_t, 3> buckets;
  Tensor<std::int32_t, 2> token;
  Tensor<std::int32_t, 4> place;
};

/// Hashes by y (B, N, R half), what the rotations made of the tokens: bucket = the place of the largest of [y, -y] of a
/// round, the first of them, plus round * 2 half. Time O(B N R half): the sort counts.
///
/// No gradient: the choice has none.
template <Device D, Real T>
LshOrder lsh_order(const D& device, const View<const T, 3>& y, Index rounds) {
  const Index batch = y.size(0), tokens = y.size(1), half = rounds > 0 ? y.size(2) / rounds : 0, count = 2 * half;
  LshOrder order;
  order.buckets.resize(batch, rounds, tokens);
  order.token.resize(batch, rounds * tokens);
  order.place.resize(batch, 1, tokens, rounds);
  parallel_for(device, batch * rounds, [&](Index unit) {
    const Index b = unit / rounds, r = unit % rounds;
    std::vector<std::int32_t> next(std::size_t(count) + 1, 0);
    std::int32_t* const buckets = order.buckets.data() + unit * tokens;
    for (Index n = 0; n < tokens; ++n) {
      const T* const row = y.at(b, n, r * half);
      Index high = 0, low = 0;
      for (Index x = 1; x < half; ++x) {
        if (row[x * y.stride(2)] > row[high * y.stride(2)]) high = x;
        if (row[x * y.stride(2)] < row[low * y.stride(2)]) low = x;
      }
      const Index best = -row[low * y.stride(2)] > row[high * y.stride(2)] ? half + low : high;
      buckets[n] = std::int32_t(r * count + best);
      ++next[std::size_t(best) + 1];
    }
    for (std::size_t x = 0; x < std::size_t(count); ++x) next[x + 1] += next[x];
    for (Index n = 0; n < tokens; ++n) {
      const Index at = r * tokens + next[std::size_t(buckets[n] - r * count)]++;
      order.token(b, at) = std::int32_t(n);
      order.place(b, 0, n, r) = std::int32_t(at);
    }
  });
  return order;
}

}  // namespace heed::inline HEED_ISA
