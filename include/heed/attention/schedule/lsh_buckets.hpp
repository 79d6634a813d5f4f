// SPDX-License-Identifier: Apache-2.0
// Tokens hashed by random rotations, and sorted by their buckets.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "heed/core/device.hpp"
#include "heed/core/tensor.hpp"
#include "heed/kernel/row_access.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

/// The buckets (B, R, N) of every round, and the order in which their tokens stand: `token` (B, R N), round by round,
/// by bucket, then by position; `place` (B, 1, N, R), where a token stands in each round.
struct LshOrder {
  Tensor<std::int32_t, 3> buckets;
  Tensor<std::int32_t, 2> token;
  Tensor<std::int32_t, 4> place;
};

namespace detail {
// A last, partial batch of a row, filled up by the row's first element.
template <Real T>
simd::Batch<T> first_for_rest(const T* row, Index begin, Index lanes) {
  alignas(64) T values[simd::kLanes<T>];
  for (Index x = 0; x < simd::kLanes<T>; ++x) values[x] = x < lanes ? row[begin + x] : row[0];
  return simd::load_aligned(values);
}

// Where the first of a row's elements that equal x stands; its last place if none does.
template <Real T>
Index first_of(const T* row, Index width, T x) {
  constexpr Index w = simd::kLanes<T>;
  Index i = 0;
  for (; i + w <= width; i += w)
    if (const auto bits = simd::lane_bits<T>(simd::load(row + i) == simd::Batch<T>(x)))
      return i + std::countr_zero(bits);
  while (i < width && row[i] != x) ++i;
  return std::min(i, width - 1);
}
}  // namespace detail

/// Hashes by y (B, N, R half), what the rotations made of the tokens: bucket = the place of the largest of [y, -y] of a
/// round, the first of them, plus round * 2 half. Time O(B N R half): the sort counts.
///
/// No gradient: the choice has none.
template <Device D, Real T>
LshOrder lsh_order(const D& device, const View<const T, 3>& y, Index rounds) {
  require(rounds > 0 && y.size(2) >= rounds, "lsh_order",
          "y must have shape (B, N, R half) with half of 1 or more, got ", shape_text(y.sizes));
  const Index batch = y.size(0), tokens = y.size(1), half = y.size(2) / rounds, count = 2 * half;
  LshOrder order;
  order.buckets.resize(batch, rounds, tokens);
  order.token.resize(batch, rounds * tokens);
  order.place.resize(batch, 1, tokens, rounds);
  parallel_for(device, batch * rounds, [&](Index unit) {
    const Index b = unit / rounds, r = unit % rounds;
    std::vector<std::int32_t> next(std::size_t(count) + 1, 0);
    ScratchFrame frame;
    T* const copy = frame.take<T>(half);
    std::int32_t* const buckets = order.buckets.data() + unit * tokens;
    for (Index n = 0; n < tokens; ++n) {
      const T* const row = kernel::packed<T>(y.at(b, n, r * half), y.stride(2), half, copy);
      simd::Batch<T> largest(row[0]), smallest(row[0]);
      kernel::for_lanes<T>(half, [&](Index x, auto lanes) {
        // What a part of a batch does not have stands for the first one.
        const auto part = lanes == simd::kLanes<T> ? simd::load(row + x) : detail::first_for_rest(row, x, lanes);
        largest = simd::max(largest, part);
        smallest = simd::min(smallest, part);
      });
      const T high = simd::reduce_max<T>(largest), low = -simd::reduce_max<T>(-smallest);
      const bool negative = -low > high;
      Index best = detail::first_of(row, half, negative ? low : high);
      if (negative) best += half;
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
