// SPDX-License-Identifier: Apache-2.0
#include "heed/simd/reduce.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/lanes.hpp"

using heed::test::batch_of;
using heed::test::lanes_of;
namespace simd = heed::simd;

namespace {

template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// Numbers whose sum depends on the order of summation.
template <class T>
T uneven(int i) {
  return T(1) / T(3 + 7 * i % 11) * (i % 3 == 0 ? T(1000) : T(-1));
}

// Halves added to halves.
template <class T>
T sum_of_halves(heed::test::LaneArray<T> lanes) {
  for (std::size_t width = lanes.size() / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

}  // namespace

TEMPLATE_TEST_CASE("reduce_add adds halves to halves", "", float, double) {
  using T = TestType;
  const auto x = batch_of<T>([](int i) { return uneven<T>(i); });
  CHECK(simd::reduce_add<T>(x) == sum_of_halves<T>(lanes_of<T>(x)));
  CHECK(simd::reduce_add<T>(simd::Batch<T>(T(1))) == T(simd::kLanes<T>));
}

TEMPLATE_TEST_CASE("reduce_max finds the largest lane, and NaN", "", float, double) {
  using T = TestType;
  for (int lane = 0; lane < simd::kLanes<T>; ++lane) {
    CAPTURE(lane);
    CHECK(simd::reduce_max<T>(batch_of<T>([&](int i) { return i == lane ? T(5) : T(-i); })) == 5);
    CHECK(simd::reduce_max<T>(batch_of<T>([&](int i) { return i == lane ? T(-1) : -kInfinity<T>; })) == -1);
    CHECK(std::isnan(simd::reduce_max<T>(batch_of<T>([&](int i) { return i == lane ? kNaN<T> : T(i); }))));
  }
  CHECK(simd::reduce_max<T>(simd::Batch<T>(-kInfinity<T>)) == -kInfinity<T>);
}

TEMPLATE_TEST_CASE("reduce_add_rows sums every row in the same order", "", float, double) {
  using T = TestType;
  constexpr int w = simd::kLanes<T>;
  simd::Batch<T> rows[w], same[w];
  heed::test::LaneArray<T> expected;
  for (int r = 0; r < w; ++r) {
    rows[r] = batch_of<T>([&](int i) { return uneven<T>(r * w + i); });
    same[r] = batch_of<T>([](int i) { return uneven<T>(i); });
    expected[std::size_t(r)] = sum_of_halves<T>(lanes_of<T>(rows[r]));
  }
  const auto sums = lanes_of<T>(simd::reduce_add_rows<T>(rows));
  for (int r = 0; r < w; ++r) CHECK(sums[std::size_t(r)] == expected[std::size_t(r)]);
  const auto equal = lanes_of<T>(simd::reduce_add_rows<T>(same));
  for (const T sum : equal) CHECK(std::memcmp(&sum, equal.data(), sizeof(T)) == 0);
}

TEMPLATE_TEST_CASE("transpose of a square", "", float, double) {
  using T = TestType;
  constexpr int w = simd::kLanes<T>;
  simd::Batch<T> rows[w];
  for (int r = 0; r < w; ++r) rows[r] = batch_of<T>([&](int i) { return 100 * r + i; });
  simd::transpose<T>(rows);
  for (int r = 0; r < w; ++r) {
    const auto lanes = lanes_of<T>(rows[r]);
    for (int i = 0; i < w; ++i) CHECK(lanes[std::size_t(i)] == T(100 * i + r));
  }
}

TEMPLATE_TEST_CASE("lane_bits gives bit i for lane i", "", float, double) {
  using T = TestType;
  constexpr int w = simd::kLanes<T>;
  CHECK(simd::lane_bits<T>(simd::Mask<T>(false)) == 0);
  CHECK(simd::lane_bits<T>(simd::Mask<T>(true)) == (std::uint64_t(1) << w) - 1);
  for (int lane = 0; lane < w; ++lane) {
    CAPTURE(lane);
    const auto x = batch_of<T>([&](int i) { return i == lane ? 1 : 0; });
    CHECK(simd::lane_bits<T>(x > simd::Batch<T>(T(0))) == std::uint64_t(1) << lane);
  }
}
