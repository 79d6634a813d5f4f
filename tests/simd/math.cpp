// SPDX-License-Identifier: Apache-2.0
#include "heed/simd/math.hpp"

#include <bit>
#include <cstdint>

#include "catch.hpp"
#include "support/lanes.hpp"

using heed::test::batch_of;
using heed::test::in_lane;
using heed::test::lanes_of;
using heed::test::ulps;
namespace simd = heed::simd;

namespace {

template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();

// Calls check(x, f(x)) for about `count` numbers from `from` to `to` of one sign, spread evenly over their bit
// patterns, which puts as many below 1e-30 as above.
template <class T, class F, class Check>
void over_bits(T from, T to, int count, F f, Check check) {
  using Bits = BitsOf<T>;
  const Bits first = std::bit_cast<Bits>(from), last = std::bit_cast<Bits>(to);
  const Bits step = std::max<Bits>(1, (last - first) / Bits(count));
  for (Bits bits = first; bits <= last && bits >= first; bits += step * Bits(simd::kLanes<T>)) {
    const auto x = batch_of<T>([&](int i) {
      const Bits lane = bits + Bits(i) * step;
      return std::bit_cast<T>(lane <= last && lane >= first ? lane : last);
    });
    const auto in = lanes_of<T>(x), out = lanes_of<T>(f(x));
    for (std::size_t i = 0; i < in.size(); ++i) check(in[i], out[i]);
  }
}

// The same, spread evenly over the interval.
template <class T, class F, class Check>
void over_interval(T from, T to, int count, F f, Check check) {
  for (int at = 0; at < count; at += simd::kLanes<T>) {
    const auto x = batch_of<T>([&](int i) { return from + (to - from) * (T(at + i) / T(count)); });
    const auto in = lanes_of<T>(x), out = lanes_of<T>(f(x));
    for (std::size_t i = 0; i < in.size(); ++i) check(in[i], out[i]);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("exp2_nonpositive is within 2 units in the last place down to the smallest normal number", "", float,
                   double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::exp2_nonpositive(x); };
  const T lowest = T(std::numeric_limits<T>::min_exponent - 1);
  double worst = 0;
  T worst_x = 0;
  const auto check = [&](T x, T y) {
    const double error = ulps<T>(y, std::exp2((long double)(x)));
    if (!(error <= worst)) worst = error, worst_x = x;
  };
  over_bits<T>(T(-0.0), lowest, 200'000, f, check);
  over_interval<T>(lowest, T(0), 200'000, f, check);
  for (int n = 0; n <= -int(lowest); ++n) check(T(-n), in_lane<T>(f, T(-n), n % simd::kLanes<T>));
  CAPTURE(worst_x, worst);
  CHECK(worst <= 2);
}

TEMPLATE_TEST_CASE("exp2_nonpositive is exact where a softmax needs it to be", "", float, double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::exp2_nonpositive(x); };
  for (int lane = 0; lane < simd::kLanes<T>; ++lane) {
    CHECK(in_lane<T>(f, T(0), lane) == 1);
    CHECK(in_lane<T>(f, T(-0.0), lane) == 1);
    CHECK(in_lane<T>(f, T(-1), lane) == T(0.5));
    const T none = in_lane<T>(f, -kInfinity<T>, lane);
    CHECK(none == 0);
    CHECK_FALSE(std::signbit(none));
    CHECK(in_lane<T>(f, std::numeric_limits<T>::lowest(), lane) == 0);
    CHECK(std::isnan(in_lane<T>(f, kNaN<T>, lane)));
    CHECK(std::isnan(in_lane<T>(f, -kNaN<T>, lane)));
  }
}

TEMPLATE_TEST_CASE("exp2_nonpositive goes to 0 below the smallest normal number", "", float, double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::exp2_nonpositive(x); };
  const T lowest = T(std::numeric_limits<T>::min_exponent - 1);
  const T smallest = std::numeric_limits<T>::min();
  bool bounded = true;
  over_interval<T>(lowest - T(100), lowest, 50'000, f, [&](T x, T y) {
    const long double error = std::fabs(std::exp2((long double)(x)) - (long double)(y));
    bounded = bounded && y >= 0 && y <= smallest && error < smallest * 0.5001L;
  });
  over_bits<T>(lowest - T(100), std::numeric_limits<T>::lowest(), 50'000, f,
               [&](T, T y) { bounded = bounded && y == 0 && !std::signbit(y); });
  CHECK(bounded);
}

TEMPLATE_TEST_CASE("exp is within 3 units in the last place", "", float, double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::exp<T>(x); };
  const T lowest = T(std::log((long double)(std::numeric_limits<T>::min())));
  const T highest = T(std::log((long double)(std::numeric_limits<T>::max())));
  double worst = 0;
  T worst_x = 0;
  bool edges = true;
  const auto check = [&](T x, T y) {
    const long double expected = std::exp((long double)(x));
    // Within a few units of the thresholds either side of them will do.
    if (expected < (long double)(std::numeric_limits<T>::min()) * (1 + 1e-5L) && y == 0) return;
    if (expected > (long double)(std::numeric_limits<T>::max()) * (1 - 1e-5L) && y == kInfinity<T>) return;
    if (expected < (long double)(std::numeric_limits<T>::min()) * (1 - 1e-5L)) edges = edges && y == 0;
    const double error = ulps<T>(y, expected);
    if (!(error <= worst)) worst = error, worst_x = x;
  };
  over_bits<T>(T(0), highest, 100'000, f, check);
  over_bits<T>(T(-0.0), lowest, 100'000, f, check);
  over_interval<T>(lowest, highest, 300'000, f, check);
  CAPTURE(worst_x, worst);
  CHECK(worst <= 3);
  CHECK(edges);
}

TEMPLATE_TEST_CASE("exp of what has no finite exponential", "", float, double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::exp<T>(x); };
  const T huge = std::numeric_limits<T>::max();
  for (int lane = 0; lane < simd::kLanes<T>; ++lane) {
    CHECK(in_lane<T>(f, T(0), lane) == 1);
    CHECK(in_lane<T>(f, T(-0.0), lane) == 1);
    CHECK(in_lane<T>(f, -kInfinity<T>, lane) == 0);
    CHECK(in_lane<T>(f, kInfinity<T>, lane) == kInfinity<T>);
    CHECK(in_lane<T>(f, huge, lane) == kInfinity<T>);
    CHECK(in_lane<T>(f, -huge, lane) == 0);
    CHECK(in_lane<T>(f, T(1000), lane) == kInfinity<T>);
    CHECK(in_lane<T>(f, T(-1000), lane) == 0);
    CHECK(std::isnan(in_lane<T>(f, kNaN<T>, lane)));
    CHECK(in_lane<T>(f, std::numeric_limits<T>::denorm_min(), lane) == 1);
  }
}

TEMPLATE_TEST_CASE("tanh is within 4 units in the last place", "", float, double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::tanh<T>(x); };
  double worst = 0;
  T worst_x = 0;
  const auto check = [&](T x, T y) {
    const double error = ulps<T>(y, std::tanh((long double)(x)));
    if (!(error <= worst)) worst = error, worst_x = x;
  };
  const T least = std::numeric_limits<T>::min();
  over_bits<T>(least, T(100), 200'000, f, check);
  over_bits<T>(-least, T(-100), 200'000, f, check);
  over_interval<T>(T(-25), T(25), 200'000, f, check);
  CAPTURE(worst_x, worst);
  CHECK(worst <= 4);
}

TEMPLATE_TEST_CASE("tanh at the ends", "", float, double) {
  using T = TestType;
  const auto f = [](simd::Batch<T> x) { return simd::tanh<T>(x); };
  for (int lane = 0; lane < simd::kLanes<T>; ++lane) {
    CHECK(in_lane<T>(f, T(0), lane) == 0);
    CHECK(in_lane<T>(f, kInfinity<T>, lane) == 1);
    CHECK(in_lane<T>(f, -kInfinity<T>, lane) == -1);
    CHECK(in_lane<T>(f, std::numeric_limits<T>::max(), lane) == 1);
    CHECK(in_lane<T>(f, std::numeric_limits<T>::lowest(), lane) == -1);
    CHECK(std::isnan(in_lane<T>(f, kNaN<T>, lane)));
  }
}

TEMPLATE_TEST_CASE("log, log1p and erf keep to their errors", "", float, double) {
  using T = TestType;
  double log_error = 0, log1p_error = 0, erf_error = 0;
  const auto worst = [](double& error, auto exact) {
    return [&error, exact](T x, T y) {
      const double e = ulps<T>(y, exact((long double)(x)));
      if (!(e <= error)) error = e;
    };
  };
  const auto log_worst = worst(log_error, [](long double x) { return std::log(x); });
  const auto log1p_worst = worst(log1p_error, [](long double x) { return std::log1p(x); });
  const auto erf_worst = worst(erf_error, [](long double x) { return std::erf(x); });
  const auto log = [](simd::Batch<T> x) { return simd::log<T>(x); };
  const auto log1p = [](simd::Batch<T> x) { return simd::log1p<T>(x); };
  const auto erf = [](simd::Batch<T> x) { return simd::erf<T>(x); };
  const T least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  over_bits<T>(least, most, 100'000, log, log_worst);
  over_interval<T>(T(0.5), T(2), 100'000, log, log_worst);
  over_bits<T>(least, most, 100'000, log1p, log1p_worst);
  over_interval<T>(T(0), T(2), 100'000, log1p, log1p_worst);
  // Below this the product with 2 / sqrt(pi) is made of denormals.
  over_bits<T>(least * T(4), T(10), 100'000, erf, erf_worst);
  over_bits<T>(-least * T(4), T(-10), 100'000, erf, erf_worst);
  over_interval<T>(T(-6), T(6), 100'000, erf, erf_worst);
  CHECK(log_error <= 1);
  CHECK(log1p_error <= 1);
  CHECK(erf_error <= (std::same_as<T, float> ? 2 : 1));
}

TEMPLATE_TEST_CASE("sin and cos keep to their errors", "", float, double) {
  using T = TestType;
  double error = 0;
  const auto of = [&](auto exact) {
    return [&error, exact](T x, T y) {
      const double e =
          double(std::abs((long double)(y)-exact((long double)(x)))) / double(std::numeric_limits<T>::epsilon());
      if (!(e <= error)) error = e;
    };
  };
  const auto sin = [](simd::Batch<T> x) { return simd::sin<T>(x); };
  const auto cos = [](simd::Batch<T> x) { return simd::cos<T>(x); };
  over_interval<T>(T(-8192), T(8192), 100'000, sin, of([](long double x) { return std::sin(x); }));
  over_interval<T>(T(-8192), T(8192), 100'000, cos, of([](long double x) { return std::cos(x); }));
  over_interval<T>(T(-7), T(7), 100'000, sin, of([](long double x) { return std::sin(x); }));
  CHECK(error <= 2);
  CHECK(std::isnan(in_lane<T>(sin, kNaN<T>, 0)));
  CHECK(std::isnan(in_lane<T>(cos, kInfinity<T>, 0)));
}

TEMPLATE_TEST_CASE("log, log1p and erf at the ends", "", float, double) {
  using T = TestType;
  const auto log = [](simd::Batch<T> x) { return simd::log<T>(x); };
  const auto log1p = [](simd::Batch<T> x) { return simd::log1p<T>(x); };
  const auto erf = [](simd::Batch<T> x) { return simd::erf<T>(x); };
  for (int lane = 0; lane < simd::kLanes<T>; ++lane) {
    CHECK(in_lane<T>(log, T(1), lane) == 0);
    CHECK(in_lane<T>(log, T(0), lane) == -kInfinity<T>);
    CHECK(in_lane<T>(log, kInfinity<T>, lane) == kInfinity<T>);
    CHECK(std::isnan(in_lane<T>(log, T(-1), lane)));
    CHECK(std::isnan(in_lane<T>(log, kNaN<T>, lane)));
    CHECK(in_lane<T>(log1p, T(0), lane) == 0);
    CHECK(in_lane<T>(log1p, kInfinity<T>, lane) == kInfinity<T>);
    CHECK(std::isnan(in_lane<T>(log1p, kNaN<T>, lane)));
    CHECK(in_lane<T>(erf, T(0), lane) == 0);
    CHECK(in_lane<T>(erf, kInfinity<T>, lane) == 1);
    CHECK(in_lane<T>(erf, -kInfinity<T>, lane) == -1);
    CHECK(std::isnan(in_lane<T>(erf, kNaN<T>, lane)));
  }
}
