// SPDX-License-Identifier: Apache-2.0
#include "heed/block/rotary.hpp"

#include <cmath>
#include <random>

#include "catch.hpp"

using heed::Index;
using heed::RotaryOptions;
using heed::RotaryScaling;
using heed::Tensor;
using heed::View;
using heed::test::contains;

namespace {

constexpr RotaryScaling kScalings[] = {RotaryScaling::kNone, RotaryScaling::kLinear, RotaryScaling::kNtk,
                                       RotaryScaling::kDynamicNtk, RotaryScaling::kYarn};

template <class T>
Tensor<T, 4> random(Index b, Index h, Index n, Index d, unsigned seed = 1) {
  Tensor<T, 4> x(b, h, n, d);
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(normal(generator));
  return x;
}

// The definition, in long double.
struct Pair {
  double angle, length;
};
Pair angle_of(const RotaryOptions& o, Index r, Index c, Index position, Index longest) {
  using Real = long double;
  Real base = o.base;
  const Real factor = o.factor, p = Real(o.original_max_position), turns_2pi = 2 * std::acos(Real(-1));
  if (o.scaling == RotaryScaling::kNtk) base *= std::pow(factor, Real(r) / Real(r - 2));
  if (o.scaling == RotaryScaling::kDynamicNtk) {
    const Real length = std::max(p, Real(longest + 1));
    base *= std::pow(factor * length / p - (factor - 1), Real(r) / Real(r - 2));
  }
  Real omega = std::pow(base, -2 * Real(c) / Real(r)), length = 1;
  if (o.scaling == RotaryScaling::kLinear) omega /= factor;
  if (o.scaling == RotaryScaling::kYarn) {
    const auto t = [&](Real n) { return Real(r) * std::log(p / (turns_2pi * n)) / (2 * std::log(base)); };
    const Real lo = std::max(Real(0), std::floor(t(o.beta_fast)));
    const Real hi = std::min(Real(r - 1), std::ceil(t(o.beta_slow)));
    const Real ramp = std::clamp((Real(c) - lo) / (lo == hi ? Real(0.001L) : hi - lo), Real(0), Real(1));
    omega = ramp * omega / factor + (1 - ramp) * omega;
    length = o.attention_factor ? Real(*o.attention_factor) : Real(0.1L) * std::log(factor) + 1;
  }
  const Real turns = Real(position) * omega / turns_2pi;
  return {double((turns - std::floor(turns)) * turns_2pi), double(length)};
}

template <class T>
double difference(const Tensor<T, 4>& x, const Tensor<std::int32_t, 2>& positions, const RotaryOptions& o,
                  const View<const T, 4>& out) {
  const Index width = x.dimension(3), r = o.rotary_dim == 0 ? width : o.rotary_dim;
  Index longest = 0;
  for (Index i = 0; i < positions.size(); ++i) longest = std::max<Index>(longest, positions.data()[i]);
  double worst = 0;
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index h = 0; h < x.dimension(1); ++h)
      for (Index n = 0; n < x.dimension(2); ++n)
        for (Index d = 0; d < width; ++d) {
          double want = double(x(b, h, n, d));
          if (d < r) {
            const bool second = o.interleaved ? d % 2 == 1 : d >= r / 2;
            const Index c = o.interleaved ? d / 2 : d % (r / 2);
            const Index partner = o.interleaved ? d ^ 1 : (d + r / 2) % r;
            const auto [angle, length] = angle_of(o, r, c, positions(b, n), longest);
            const double sine = (o.inverse ? -1 : 1) * std::sin(angle) * (second ? 1 : -1);
            want = length * (want * std::cos(angle) + double(x(b, h, n, partner)) * sine);
          }
          const double error = std::abs(double(out(b, h, n, d)) - want);
          if (!(error <= worst)) worst = error;
        }
  return worst;
}

Tensor<std::int32_t, 2> some_positions(Index b, Index n, std::int32_t highest, unsigned seed = 5) {
  Tensor<std::int32_t, 2> positions(b, n);
  std::mt19937 generator(seed);
  std::uniform_int_distribution<std::int32_t> uniform(0, highest);
  for (Index i = 0; i < positions.size(); ++i) positions.data()[i] = uniform(generator);
  return positions;
}

template <class T>
Tensor<T, 4> rotated(const Tensor<T, 4>& x, const Tensor<std::int32_t, 2>& positions, const RotaryOptions& options) {
  Tensor<T, 4> out(x.dimensions());
  out.setConstant(std::numeric_limits<T>::quiet_NaN());
  heed::rotate(Eigen::DefaultDevice(), heed::const_view(x), heed::const_view(positions), options, heed::view(out));
  return out;
}

}  // namespace

TEST_CASE("Rotation by all scalings, layouts and widths is that of the definition") {
  for (const RotaryScaling scaling : kScalings)
    for (const bool interleaved : {false, true})
      for (const bool inverse : {false, true})
        for (const auto& [width, rotary] : {std::pair<Index, Index>{4, 0}, {6, 0}, {17, 10}, {64, 64}, {130, 126}}) {
          const RotaryOptions options{.rotary_dim = rotary,
                                      .interleaved = interleaved,
                                      .inverse = inverse,
                                      .scaling = scaling,
                                      .factor = 4,
                                      .original_max_position = 64};
          const auto positions = some_positions(2, 7, 300);
          const auto x = random<float>(2, 3, 7, width);
          CHECK(difference(x, positions, options, heed::const_view(rotated(x, positions, options))) < 2e-6);
          const auto y = random<double>(2, 3, 7, width);
          CHECK(difference(y, positions, options, heed::const_view(rotated(y, positions, options))) < 1e-12);
        }
}

TEST_CASE("The options of each scaling matter") {
  const auto x = random<double>(1, 1, 9, 32);
  const auto positions = some_positions(1, 9, 100);
  const auto check = [&](const RotaryOptions& options) {
    CHECK(difference(x, positions, options, heed::const_view(rotated(x, positions, options))) < 1e-12);
  };
  check({.rotary_dim = 2, .base = 500});
  check({.scaling = RotaryScaling::kLinear, .factor = 0.5});
  check({.scaling = RotaryScaling::kDynamicNtk, .factor = 2, .original_max_position = 1000});
  check({.scaling = RotaryScaling::kYarn, .factor = 8, .original_max_position = 4096, .attention_factor = 0.75});
  check({.base = 5e5,
         .scaling = RotaryScaling::kYarn,
         .factor = 8,
         .original_max_position = 512,
         .beta_fast = 20,
         .beta_slow = 2});
  // lo = hi = 0
  check({.scaling = RotaryScaling::kYarn, .factor = 8, .original_max_position = 6, .beta_fast = 1, .beta_slow = 1});
}

TEST_CASE("Angles keep their accuracy at far and at negative positions") {
  Tensor<std::int32_t, 2> positions(1, 4);
  positions.setValues({{100000, 1000003, -99999, std::numeric_limits<std::int32_t>::max()}});
  const auto x = random<float>(1, 2, 4, 64);
  for (const bool interleaved : {false, true}) {
    const RotaryOptions options{.interleaved = interleaved};
    CHECK(difference(x, positions, options, heed::const_view(rotated(x, positions, options))) < 2e-6);
  }
  const auto y = random<double>(1, 2, 4, 64);
  CHECK(difference(y, positions, {}, heed::const_view(rotated(y, positions, {}))) < 3e-6);  // 2^31 * 2^-53
}

TEST_CASE("A product of two rotated rows depends on the difference of their positions alone") {
  for (const bool interleaved : {false, true}) {
    const auto q = random<double>(1, 1, 1, 48, 3), k = random<double>(1, 1, 1, 48, 4);
    const RotaryOptions options{.rotary_dim = 40, .interleaved = interleaved};
    const auto product = [&](std::int32_t i, std::int32_t j) {
      Tensor<std::int32_t, 2> at_i(1, 1), at_j(1, 1);
      at_i(0, 0) = i;
      at_j(0, 0) = j;
      const auto a = rotated(q, at_i, options), b = rotated(k, at_j, options);
      double sum = 0;
      for (Index d = 0; d < 48; ++d) sum += a(0, 0, 0, d) * b(0, 0, 0, d);
      return sum;
    };
    for (const std::int32_t shift : {1, 17, 1000, 100000})
      CHECK(std::abs(product(12, 5) - product(12 + shift, 5 + shift)) < 1e-9);
    CHECK(std::abs(product(12, 5) - product(12, 6)) > 1e-3);
  }
}

TEST_CASE("The inverse undoes, and norms are kept") {
  for (const bool interleaved : {false, true}) {
    const auto x = random<float>(2, 2, 9, 34);
    const auto positions = some_positions(2, 9, 5000);
    const auto there = rotated(x, positions, {.interleaved = interleaved});
    const auto back = rotated(there, positions, {.interleaved = interleaved, .inverse = true});
    for (Index i = 0; i < x.size(); ++i) CHECK(std::abs(x.data()[i] - back.data()[i]) < 2e-6F);
    for (Index row = 0; row < x.size() / 34; ++row) {
      double before = 0, after = 0;
      for (Index d = 0; d < 34; ++d) {
        before += std::pow(double(x.data()[row * 34 + d]), 2);
        after += std::pow(double(there.data()[row * 34 + d]), 2);
      }
      CHECK(std::abs(before - after) < 1e-5 * before);
    }
  }
}

TEST_CASE("Strided views, rotation in place, tables and 16-bit storage give what a plain call gives") {
  const Index b = 2, h = 3, n = 70, d = 22;
  const auto x = random<float>(b, h, n, d);
  const auto positions = some_positions(b, n, 99);
  const Eigen::DefaultDevice device;
  for (const bool interleaved : {false, true}) {
    const RotaryOptions options{.rotary_dim = 18, .interleaved = interleaved};
    const auto want = rotated(x, positions, options);
    const auto same = [&](const View<const float, 4>& got) {
      double worst = 0;
      for (Index i = 0; i < b; ++i)
        for (Index j = 0; j < h; ++j)
          for (Index k = 0; k < n; ++k)
            for (Index c = 0; c < d; ++c) worst = std::max(worst, std::abs(double(got(i, j, k, c) - want(i, j, k, c))));
      return worst == 0;
    };
    // Widths apart and heads inside, in and out and in place.
    for (const std::array<int, 4>& order : {std::array<int, 4>{0, 2, 1, 3}, {0, 1, 3, 2}, {3, 2, 1, 0}}) {
      std::array<Index, 4> sizes{}, inverse{};
      for (std::size_t a = 0; a < 4; ++a) {
        sizes[std::size_t(order[a])] = x.dimension(a);
        inverse[a] = order[a];
      }
      Tensor<float, 4> memory(sizes[0], sizes[1], sizes[2], sizes[3]);
      const auto strided = heed::view(memory).permute(order);
      REQUIRE(strided.sizes == heed::const_view(x).sizes);
      for (Index i = 0; i < b; ++i)
        for (Index j = 0; j < h; ++j)
          for (Index k = 0; k < n; ++k)
            for (Index c = 0; c < d; ++c) strided(i, j, k, c) = x(i, j, k, c);
      Tensor<float, 4> out(b, h, n, d);
      heed::rotate(device, View<const float, 4>(strided), heed::const_view(positions), options, heed::view(out));
      CHECK(same(heed::const_view(out)));
      heed::rotate(device, View<const float, 4>(strided), heed::const_view(positions), options, strided);
      CHECK(same(strided));
    }
    const auto table = heed::rotary_table<float>(options, d, 100);
    Tensor<float, 4> out(b, h, n, d);
    heed::rotate(device, heed::const_view(x), heed::const_view(positions), options, table, heed::view(out));
    CHECK(same(heed::const_view(out)));

    Tensor<heed::bfloat16, 4> rounded = x.cast<heed::bfloat16>();
    const Tensor<float, 4> widened = rounded.cast<float>();
    Tensor<float, 4> wide(b, h, n, d);
    heed::rotate(device, heed::const_view(widened), heed::const_view(positions), options, heed::view(wide));
    heed::rotate(device, heed::const_view(rounded), heed::const_view(positions), options, heed::view(out));
    for (Index i = 0; i < out.size(); ++i) CHECK(out.data()[i] == wide.data()[i]);
    heed::rotate(device, heed::const_view(rounded), heed::const_view(positions), options, heed::view(rounded));
    for (Index i = 0; i < out.size(); ++i) CHECK(float(rounded.data()[i]) == float(heed::bfloat16(wide.data()[i])));
  }
}

TEST_CASE("The same bits on any number of threads") {
  const auto x = random<float>(2, 3, 200, 34);
  const auto positions = some_positions(2, 200, 5000);
  const auto want = rotated(x, positions, {});
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    Tensor<float, 4> out(x.dimensions());
    heed::rotate(device, heed::const_view(x), heed::const_view(positions), {}, heed::view(out));
    CHECK(std::equal(out.data(), out.data() + out.size(), want.data()));
  }
}

TEST_CASE("Ranks within a cache have the angles of their positions") {
  const heed::RotaryFrequencies frequencies({}, 32, 0, "here");
  for (const Index count : {0, 1, 63, 64, 1000}) {
    Tensor<double, 2> cos(count, 16), sin(count, 16);
    heed::detail::fill_rotary_ranks(Eigen::DefaultDevice(), frequencies, count, cos.data(), sin.data());
    for (Index row = 0; row < count; ++row)
      for (Index c = 0; c < 16; ++c) {
        const auto [angle, length] = angle_of({}, 32, c, row, row);
        REQUIRE(std::abs(cos(row, c) - std::cos(angle)) < 3e-13);
        REQUIRE(std::abs(sin(row, c) - std::sin(angle)) < 3e-13);
      }
  }
}

TEST_CASE("Empty tensors are fine, and everything out of range is named") {
  const auto call = [](const RotaryOptions& options, Index width, const Tensor<std::int32_t, 2>& positions) {
    const Tensor<float, 4> x(positions.dimension(0), 1, positions.dimension(1), width);
    Tensor<float, 4> out(x.dimensions());
    heed::rotate(Eigen::DefaultDevice(), heed::const_view(x), heed::const_view(positions), options, heed::view(out),
                 "here");
  };
  const auto fails = [&](const RotaryOptions& options, const std::string& text) {
    CHECK_THROWS_WITH(call(options, 8, some_positions(1, 2, 9)), contains("here: " + text));
  };
  CHECK_NOTHROW(call({}, 8, some_positions(0, 2, 9)));
  CHECK_NOTHROW(call({.scaling = RotaryScaling::kDynamicNtk, .original_max_position = 9}, 8, some_positions(2, 0, 9)));
  fails({.rotary_dim = 3}, "rotary_dim must be even and in 2 .. D = 8, got 3");
  fails({.rotary_dim = 10}, "rotary_dim must be even and in 2 .. D = 8, got 10");
  fails({.rotary_dim = -2}, "rotary_dim must be even");
  CHECK_THROWS_WITH(call({}, 7, some_positions(1, 2, 9)), contains("rotary_dim must be even and in 2 .. D = 7, got 7"));
  fails({.base = 0}, "base must be positive and finite, got 0");
  fails({.scaling = RotaryScaling::kLinear, .factor = 0}, "factor must be positive and finite, got 0");
  fails({.rotary_dim = 2, .scaling = RotaryScaling::kNtk}, "the ntk scalings need a rotary_dim of 4 or more, got 2");
  fails({.rotary_dim = 2, .scaling = RotaryScaling::kDynamicNtk, .original_max_position = 9},
        "the ntk scalings need a rotary_dim of 4 or more, got 2");
  fails({.scaling = RotaryScaling::kDynamicNtk}, "original_max_position must be 1 or more for this scaling, got 0");
  fails({.scaling = RotaryScaling::kYarn}, "original_max_position must be 1 or more for this scaling, got 0");
  const auto yarn = [](double base, double fast, std::optional<double> length) {
    return RotaryOptions{.base = base,
                         .scaling = RotaryScaling::kYarn,
                         .original_max_position = 9,
                         .beta_fast = fast,
                         .attention_factor = length};
  };
  fails(yarn(1, 32, std::nullopt), "base must not be 1 for the yarn scaling");
  fails(yarn(10, 0, std::nullopt), "beta_fast and beta_slow must be positive and finite, got 0 and 1");
  fails(yarn(10, 32, std::numeric_limits<double>::infinity()), "attention_factor must be finite");

  const auto x = random<float>(2, 1, 3, 8);
  Tensor<float, 4> out(2, 1, 3, 8), wrong(2, 1, 3, 7);
  const Eigen::DefaultDevice device;
  const auto from = heed::const_view(x);
  const auto positions = some_positions(2, 3, 9), two = some_positions(2, 2, 9);
  CHECK_THROWS_WITH(heed::rotate(device, from, heed::const_view(two), {}, heed::view(out)),
                    contains("rotate: positions (B, N) must be broadcastable to (2, 3), got (2, 2)"));
  CHECK_THROWS_WITH(heed::rotate(device, from, heed::const_view(positions), {}, heed::view(wrong)),
                    contains("rotate: out must have the shape of x, (2, 1, 3, 8), got (2, 1, 3, 7)"));
  const auto table = heed::rotary_table<float>({}, 8, 5), narrow = heed::rotary_table<float>({}, 6, 50);
  Tensor<std::int32_t, 2> far(1, 1);
  far(0, 0) = 5;
  CHECK_THROWS_WITH(heed::rotate(device, from, heed::const_view(far), {}, table, heed::view(out)),
                    contains("rotate: position 5 is outside of the table's 0 .. 4"));
  CHECK_THROWS_WITH(
      heed::rotate(device, from, heed::const_view(positions), {}, narrow, heed::view(out)),
      contains("rotate: the table's cos and sin must have shape (positions, 4), got (50, 3) and (50, 3)"));
  CHECK_THROWS_WITH(heed::rotary_table<float>({}, 8, -1), contains("rotary_table: the number of positions"));
}
