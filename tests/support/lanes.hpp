// SPDX-License-Identifier: Apache-2.0
// Batches as arrays of their lanes, and errors in units in the last place.
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "heed/simd/batch.hpp"

namespace heed::test {

template <class T>
using LaneArray = std::array<T, std::size_t(simd::kLanes<T>)>;

/// The lanes of a batch.
template <class T>
LaneArray<T> lanes_of(simd::Batch<T> x) {
  alignas(64) LaneArray<T> lanes;
  x.store_aligned(lanes.data());
  return lanes;
}

/// The lanes of a batch of integers.
template <class T>
std::array<simd::IndexLane<T>, std::size_t(simd::kLanes<T>)> integers_of(simd::IndexBatch<T> x) {
  alignas(64) std::array<simd::IndexLane<T>, std::size_t(simd::kLanes<T>)> lanes;
  x.store_aligned(lanes.data());
  return lanes;
}

/// A batch whose lane i is f(i).
template <class T, class F>
simd::Batch<T> batch_of(F f) {
  alignas(64) LaneArray<T> lanes;
  for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] = T(f(int(i)));
  return simd::load_aligned(lanes.data());
}

/// f of one number, computed in the lane `lane` of a batch that holds harmless numbers elsewhere.
template <class T, class F>
T in_lane(F f, T x, int lane = 0) {
  const auto in = batch_of<T>([&](int i) { return i == lane ? x : T(-0.5); });
  return lanes_of<T>(f(in))[std::size_t(lane)];
}

/// |got - expected| in units in the last place of `expected` as a T; those of the denormals below the normal numbers.
template <class T>
double ulps(T got, long double expected) {
  using Limits = std::numeric_limits<T>;
  if (std::isnan(got) || std::isinf(got)) return std::numeric_limits<double>::infinity();
  const int exponent =
      expected == 0 ? Limits::min_exponent - 1 : std::max(std::ilogb(expected), Limits::min_exponent - 1);
  return double(std::fabs((long double)(got)-expected) / std::ldexp(1.0L, exponent - (Limits::digits - 1)));
}

}  // namespace heed::test
