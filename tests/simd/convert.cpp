// SPDX-License-Identifier: Apache-2.0
#include "heed/simd/convert.hpp"

#include <bit>
#include <cstdint>
#include <vector>

#include "catch.hpp"
#include "support/guarded.hpp"
#include "support/lanes.hpp"

using heed::bfloat16;
using heed::half;
using heed::Index;
using heed::test::batch_of;
using heed::test::Edge;
using heed::test::Guarded;
using heed::test::lanes_of;
namespace simd = heed::simd;

namespace {

bool same(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

// An IEEE half by its definition.
float half_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float sign = bits >> 15 != 0 ? -1.f : 1.f;
  if (exponent == 31) return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(float(mantissa), -24) : std::ldexp(float(1024 + mantissa), exponent - 25));
}
float value(half, std::uint16_t bits) { return half_value(bits); }
float value(bfloat16, std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t(bits) << 16); }

template <class T, class U>
std::vector<U> ascending(std::size_t count) {
  std::vector<U> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = U(static_cast<float>(i + 1));
  return values;
}

// Every load of `count` elements of U at either edge of readable memory.
template <class T, class U>
void check_loads() {
  constexpr std::size_t w = std::size_t(simd::kLanes<T>);
  for (const Edge edge : {Edge::kBegin, Edge::kEnd})
    for (std::size_t count = 0; count <= w; ++count) {
      const Guarded<U> memory(count, edge);
      for (std::size_t i = 0; i < count; ++i) memory[i] = static_cast<U>(static_cast<float>(i + 1));
      const auto check = [&](simd::Batch<T> x) {
        const auto lanes = lanes_of<T>(x);
        for (std::size_t i = 0; i < w; ++i) CHECK(lanes[i] == (i < count ? T(i + 1) : T(0)));
      };
      CAPTURE(count);
      if (count < w) check(simd::load_partial<T>(memory.data(), Index(count)));
      if (count == w) check(simd::load_as<T>(memory.data()));
      check(simd::load_strided<T>(memory.data(), 1, Index(count)));
    }
}

template <class T, class U>
void check_strides() {
  constexpr Index w = simd::kLanes<T>;
  for (const Index stride : {-3, -1, 2, 5})
    for (Index count = 1; count <= w; ++count) {
      const Index span = (count - 1) * std::abs(stride) + 1;
      const Guarded<U> memory(std::size_t(span), stride < 0 ? Edge::kBegin : Edge::kEnd);
      const U* first = stride < 0 ? memory.end() - 1 : memory.data();
      for (Index i = 0; i < count; ++i) const_cast<U*>(first)[i * stride] = static_cast<U>(static_cast<float>(i + 1));
      const auto lanes = lanes_of<T>(simd::load_strided<T>(first, stride, count));
      for (Index i = 0; i < w; ++i) CHECK(lanes[std::size_t(i)] == (i < count ? T(i + 1) : T(0)));
    }
  const Guarded<U> one(1);
  one[0] = static_cast<U>(7.f);
  for (const T lane : lanes_of<T>(simd::load_strided<T>(one.data(), 0, w))) CHECK(lane == 7);
}

template <class T, class U>
void check_stores() {
  constexpr std::size_t w = std::size_t(simd::kLanes<T>);
  const auto x = batch_of<T>([](int i) { return i + 1; });
  for (const Edge edge : {Edge::kBegin, Edge::kEnd})
    for (std::size_t count = 0; count <= w; ++count) {
      const Guarded<U> memory(count, edge);
      simd::store_partial<T>(x, memory.data(), Index(count));
      for (std::size_t i = 0; i < count; ++i) CHECK(static_cast<float>(memory[i]) == float(i + 1));
    }
  std::vector<U> wide(w + 2, static_cast<U>(-1.f));
  simd::store_partial<T>(x, wide.data() + 1, Index(w - 1));
  CHECK(static_cast<float>(wide[0]) == -1.f);
  CHECK(static_cast<float>(wide[w]) == -1.f);
}

template <class U>
void check_all_values() {
  constexpr std::size_t w = std::size_t(simd::kLanes<float>);
  int wrong = 0;
  for (std::uint32_t base = 0; base < 65536; base += w) {
    U raw[w];
    for (std::uint32_t i = 0; i < w; ++i) raw[i] = std::bit_cast<U>(std::uint16_t(base + i));
    const auto whole = lanes_of<float>(simd::load_as<float>(raw));
    const auto partial = lanes_of<float>(simd::load_partial<float>(raw, Index(w - 1)));
    for (std::uint32_t i = 0; i < w; ++i) {
      const float expected = value(U(), std::uint16_t(base + i));
      wrong += !same(whole[i], expected) + !same(simd::widen<float>(raw[i]), expected);
      wrong += !same(partial[i], i + 1 < w ? expected : 0.f);
    }
  }
  CHECK(wrong == 0);
}

// Storage of a number between two neighbours a and b of U, and of each of them.
template <class U>
void check_rounding() {
  const auto narrowed = [](float x) {
    U out[2];
    simd::store_partial<float>(simd::Batch<float>(x), out, 1);
    return std::bit_cast<std::uint16_t>(out[0]);
  };
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float a = value(U(), std::uint16_t(bits)), b = value(U(), std::uint16_t(bits + 1));
    if (std::isnan(a)) {
      wrong += !std::isnan(value(U(), narrowed(a)));
      continue;
    }
    wrong += narrowed(a) != bits;
    if (!std::isfinite(a) || !std::isfinite(b) || (bits & 0x7fff) == 0x7fff) continue;
    const float middle = a + (b - a) / 2;  // exact
    wrong += narrowed(middle) != (bits % 2 == 0 ? bits : bits + 1);
    wrong += narrowed(std::nextafter(middle, a)) != bits;
    wrong += narrowed(std::nextafter(middle, b)) != bits + 1;
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("Loads read what they are asked for and nothing else") {
  check_loads<float, float>();
  check_loads<double, double>();
  check_loads<float, bfloat16>();
  check_loads<float, half>();
  check_loads<float, std::uint8_t>();
  check_loads<float, std::int8_t>();
  check_loads<double, float>();
  check_loads<double, bfloat16>();
  check_loads<double, std::uint8_t>();
}

TEST_CASE("Strided loads") {
  check_strides<float, float>();
  check_strides<double, double>();
  check_strides<float, bfloat16>();
  check_strides<float, half>();
}

TEST_CASE("Stores write what they are asked for and nothing else") {
  check_stores<float, float>();
  check_stores<double, double>();
  check_stores<float, bfloat16>();
  check_stores<float, half>();
}

TEST_CASE("All 65536 values of a 16-bit storage are widened exactly") {
  check_all_values<bfloat16>();
  check_all_values<half>();
}

TEST_CASE("Stores to a 16-bit storage round to the nearest, ties to even") {
  check_rounding<bfloat16>();
  check_rounding<half>();
}

TEST_CASE("Signed bytes keep their sign") {
  std::vector<std::int8_t> bytes(64);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::int8_t(-int(i) * 2);
  const auto lanes = lanes_of<float>(simd::load_as<float>(bytes.data()));
  for (std::size_t i = 0; i < lanes.size(); ++i) CHECK(lanes[i] == float(bytes[i]));
}
