// SPDX-License-Identifier: Apache-2.0
#include "heed/simd/batch.hpp"

#include "catch.hpp"
#include "support/lanes.hpp"

using heed::Index;
using heed::test::batch_of;
using heed::test::integers_of;
using heed::test::lanes_of;
namespace simd = heed::simd;

namespace {

template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();

// A number that the compiler knows nothing of.
template <class T>
T opaque(T x) {
  volatile T copy = x;
  return copy;
}

}  // namespace

TEMPLATE_TEST_CASE("fma rounds once where the hardware can", "", float, double) {
  using T = TestType;
  const T step = std::same_as<T, float> ? T(0x1p-12) : T(0x1p-27);
  const simd::Batch<T> x(opaque<T>(1 + step)), z(opaque<T>(-1 - 2 * step));
  const T expected = simd::kHasFma ? step * step : T(0);  // (1 + step)^2 - 1 - 2 step
  for (const T lane : lanes_of<T>(simd::fma(x, x, z))) CHECK(lane == expected);
  for (const T lane : lanes_of<T>(simd::fma(batch_of<T>([](int i) { return i; }), simd::Batch<T>(T(2)), z)))
    CHECK(std::isfinite(lane));
}

TEMPLATE_TEST_CASE("max_or_nan takes the larger, and NaN", "", float, double) {
  using T = TestType;
  const simd::Batch<T> number(opaque<T>(-3));
  for (int lane = 0; lane < simd::kLanes<T>; ++lane) {
    const auto x = batch_of<T>([&](int i) { return i == lane ? kNaN<T> : T(i % 2 == 0 ? i : -100); });
    const auto result = lanes_of<T>(simd::max_or_nan(number, x));
    for (int i = 0; i < simd::kLanes<T>; ++i) {
      if (i == lane) {
        CHECK(std::isnan(result[std::size_t(i)]));
      } else {
        CHECK(result[std::size_t(i)] == T(i % 2 == 0 ? i : -3));
      }
    }
  }
}

TEMPLATE_TEST_CASE("Loads and broadcasts", "", float, double) {
  using T = TestType;
  alignas(64) T values[2 * std::size_t(simd::kLanes<T>) + 1];
  for (std::size_t i = 0; i < std::size(values); ++i) values[i] = T(i) * T(1.5);
  for (const std::size_t offset : {std::size_t(0), std::size_t(1), std::size_t(simd::kLanes<T>)}) {
    const auto x = lanes_of<T>(simd::load(values + offset));
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(x[i] == values[offset + i]);
  }
  const auto aligned = lanes_of<T>(simd::load_aligned(values + simd::kLanes<T>));
  for (std::size_t i = 0; i < aligned.size(); ++i) CHECK(aligned[i] == values[std::size_t(simd::kLanes<T>) + i]);
  for (const T& value : values)
    for (const T lane : lanes_of<T>(simd::load_broadcast(&value))) CHECK(lane == value);
}

TEMPLATE_TEST_CASE("Integers become numbers exactly", "", float, double) {
  using T = TestType;
  using Lane = simd::IndexLane<T>;
  const auto lanes = integers_of<T>(simd::iota<T>());
  for (std::size_t i = 0; i < lanes.size(); ++i) CHECK(lanes[i] == Lane(i));
  const int bits = std::same_as<T, float> ? 24 : 53;
  for (int shift = 0; shift <= bits; ++shift) {
    for (const Lane base : {Lane(Lane(1) << shift), Lane(-(Lane(1) << shift))}) {
      const Lane start = base < 0 ? base : Lane(base - Lane(simd::kLanes<T>) + 1);
      const auto x = lanes_of<T>(simd::to_real<T>(simd::IndexBatch<T>(start) + simd::iota<T>()));
      for (std::size_t i = 0; i < x.size(); ++i) {
        CAPTURE(start, i);
        CHECK(x[i] == T(start + Lane(i)));
      }
    }
  }
}

TEMPLATE_TEST_CASE("Conditions of every kind select lanes", "", float, double) {
  using T = TestType;
  using Lane = simd::IndexLane<T>;
  const simd::Batch<T> yes(T(1)), no(T(0));
  for (int limit = -1; limit <= simd::kLanes<T>; ++limit) {
    const auto by_index = simd::iota<T>() < simd::IndexBatch<T>(Lane(limit));
    const auto by_value = simd::to_real<T>(simd::iota<T>()) < simd::Batch<T>(T(limit));
    const auto a = lanes_of<T>(simd::select(simd::as_mask<T>(by_index), yes, no));
    const auto b = lanes_of<T>(simd::select(simd::as_mask<T>(by_value), yes, no));
    const auto c = lanes_of<T>(simd::select(simd::as_mask<T>(limit > 0), yes, no));
    const auto d = lanes_of<T>(simd::select(!simd::as_mask<T>(by_index), yes, no));
    const auto e = lanes_of<T>(simd::select(simd::as_mask<T>(by_index) && simd::as_mask<T>(limit > 2), yes, no));
    for (int i = 0; i < simd::kLanes<T>; ++i) {
      CHECK(a[std::size_t(i)] == T(i < limit));
      CHECK(b[std::size_t(i)] == T(i < limit));
      CHECK(c[std::size_t(i)] == T(limit > 0));
      CHECK(d[std::size_t(i)] == T(i >= limit));
      CHECK(e[std::size_t(i)] == T(i < limit && limit > 2));
    }
  }
}

TEMPLATE_TEST_CASE("Comparisons of negative integers", "", float, double) {
  using T = TestType;
  using Lane = simd::IndexLane<T>;
  // Beyond 32 bits, where there are 64: compilers emulate their comparison for plain x86-64.
  const Lane big = std::same_as<T, float> ? Lane(1) << 30 : Lane(Lane(1) << (sizeof(Lane) == 8 ? 40 : 30));
  const simd::Batch<T> yes(T(1)), no(T(0));
  for (const Lane left : {Lane(-big), Lane(-1), Lane(0), Lane(1), big})
    for (const Lane right : {Lane(-big), Lane(-1), Lane(0), Lane(1), big}) {
      const simd::IndexBatch<T> a(left), b(right);
      CAPTURE(left, right);
      CHECK(lanes_of<T>(simd::select(simd::as_mask<T>(a < b), yes, no))[0] == T(left < right));
      CHECK(lanes_of<T>(simd::select(simd::as_mask<T>(a <= b), yes, no))[0] == T(left <= right));
      CHECK(lanes_of<T>(simd::select(simd::as_mask<T>(a >= b), yes, no))[0] == T(left >= right));
      CHECK(lanes_of<T>(simd::select(simd::as_mask<T>(a == b), yes, no))[0] == T(left == right));
    }
}

TEMPLATE_TEST_CASE("zip interleaves over the full width", "", float, double) {
  using T = TestType;
  constexpr int w = simd::kLanes<T>;
  const auto [low, high] =
      simd::zip<T>(batch_of<T>([](int i) { return i; }), batch_of<T>([](int i) { return 100 + i; }));
  const auto first = lanes_of<T>(low), second = lanes_of<T>(high);
  for (int i = 0; i < w; ++i) {
    const T expected_low = T(i / 2 + (i % 2 == 0 ? 0 : 100));
    CHECK(first[std::size_t(i)] == expected_low);
    CHECK(second[std::size_t(i)] == expected_low + T(w) / 2);
  }
}

namespace {

template <int Bit, class T>
void check_pairs() {
  constexpr int w = simd::kLanes<T>;
  if constexpr (Bit < w) {
    auto a = batch_of<T>([](int i) { return i; }), b = batch_of<T>([](int i) { return 100 + i; });
    const auto folded = lanes_of<T>(simd::fold<Bit, T>(a, b));
    simd::exchange<Bit, T>(a, b);
    const auto x = lanes_of<T>(a), y = lanes_of<T>(b);
    for (int i = 0; i < w; ++i) {
      CAPTURE(Bit, i);
      const bool set = (i & Bit) != 0;
      CHECK(x[std::size_t(i)] == T(set ? 100 + (i ^ Bit) : i));
      CHECK(y[std::size_t(i)] == T(set ? 100 + i : i ^ Bit));
      CHECK(folded[std::size_t(i)] == T((set ? 200 : 0) + i + (i ^ Bit)));
    }
    check_pairs<2 * Bit, T>();
  }
}

}  // namespace

TEMPLATE_TEST_CASE("exchange and fold of lanes a power of two apart", "", float, double) { check_pairs<1, TestType>(); }

TEMPLATE_TEST_CASE("A value kept in a register is the same value", "", float, double) {
  using T = TestType;
  const auto x = batch_of<T>([](int i) { return i * i; });
  CHECK(lanes_of<T>(simd::in_register<T>(x)) == lanes_of<T>(x));
  for (int lane = 0; lane < simd::kLanes<T>; ++lane)
    CHECK(simd::any(batch_of<T>([&](int i) { return i == lane; }) > simd::Batch<T>(T(0))));
  CHECK_FALSE(simd::any(simd::Batch<T>(kNaN<T>) > simd::Batch<T>(T(0))));
}

TEMPLATE_TEST_CASE("permute takes lanes by their places, first_lanes those before a place", "", float, double) {
  using T = TestType;
  constexpr int lanes = simd::kLanes<T>;
  const auto x = batch_of<T>([](int i) { return 10 + i; });
  alignas(64) simd::IndexLane<T> places[lanes];
  for (int i = 0; i < lanes; ++i) places[i] = simd::IndexLane<T>((3 * i + 1) % lanes);
  const auto got = lanes_of<T>(simd::permute<T>(x, simd::IndexBatch<T>::load_aligned(places)));
  for (int i = 0; i < lanes; ++i) CHECK(got[std::size_t(i)] == T(10 + (3 * i + 1) % lanes));
  for (int count = 0; count < lanes; ++count) {
    const auto first = lanes_of<T>(simd::select(simd::first_lanes<T>(count), x, simd::Batch<T>(T(0))));
    for (int i = 0; i < lanes; ++i) CHECK(first[std::size_t(i)] == (i < count ? T(10 + i) : T(0)));
  }
}
