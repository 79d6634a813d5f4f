// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/rows.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/guarded.hpp"
#include "support/panels.hpp"

using heed::bfloat16;
using heed::half;
using heed::Index;
using heed::test::AlignedRow;
using heed::test::Edge;
using heed::test::Guarded;
using heed::test::Noise;
namespace kernel = heed::kernel;
namespace simd = heed::simd;

namespace {

// row_dot on rows that are not interleaved yet.
template <class T, class U>
void dot(const T* q, Index padded, Index rows, const U* keys, Index stride, Index count, Index width, T* score,
         Index score_stride) {
  AlignedRow<T> interleaved(rows * padded);
  kernel::interleave_rows<T>(q, padded, rows, width, interleaved.data());
  kernel::row_dot<T>(interleaved.data(), rows, keys, stride, count, width, score, score_stride);
  REQUIRE(interleaved.intact());
}

// Entries have 7 bits, so that the sums are exact.
template <class T, class U>
void check_dot(Index rows, Index width, Index count, Index gap) {
  CAPTURE(rows, width, count, gap);
  const Index padded = kernel::padded<T>(width), stride = width + gap, score_stride = kernel::padded<T>(count + 3);
  Noise noise(unsigned(rows * 10000 + width * 100 + count));
  AlignedRow<T> q(rows * padded, T(0));
  for (Index g = 0; g < rows; ++g)
    for (Index d = 0; d < width; ++d) q[g * padded + d] = T(noise());
  const Guarded<U> keys(std::size_t((count - 1) * stride + width), width % 2 == 0 ? Edge::kBegin : Edge::kEnd);
  for (U& x : keys) x = static_cast<U>(noise());
  AlignedRow<T> score(rows * score_stride);
  dot<T>(q.data(), padded, rows, static_cast<const U*>(keys.data()), stride, count, width, score.data(), score_stride);
  for (Index g = 0; g < rows; ++g) {
    for (Index j = 0; j < count; ++j) {
      double expected = 0;
      for (Index d = 0; d < width; ++d)
        expected += double(q[g * padded + d]) * double(static_cast<float>(keys[std::size_t(j * stride + d)]));
      REQUIRE(double(score[g * score_stride + j]) == expected);
    }
    for (Index j = kernel::padded<T>(count); j < score_stride; ++j) REQUIRE(std::isnan(score[g * score_stride + j]));
  }
  REQUIRE(score.intact());
}

template <class T, class U>
void check_mix(Index rows, Index width, Index count, Index gap) {
  CAPTURE(rows, width, count, gap);
  const Index padded = kernel::padded<T>(width), stride = width + gap, weight_stride = count + 3;
  Noise noise(unsigned(rows * 10000 + width * 100 + count));
  AlignedRow<T> p(rows * weight_stride), o(rows * padded, T(0));
  for (Index g = 0; g < rows; ++g)
    for (Index j = 0; j < count; ++j) p[g * weight_stride + j] = T(noise());
  const Guarded<U> values(std::size_t((count - 1) * stride + width), width % 2 == 0 ? Edge::kEnd : Edge::kBegin);
  for (U& x : values) x = static_cast<U>(noise());
  std::vector<double> expected;
  for (Index g = 0; g < rows; ++g)
    for (Index d = 0; d < width; ++d) {
      o[g * padded + d] = T(noise());
      double sum = double(o[g * padded + d]);
      for (Index j = 0; j < count; ++j)
        sum += double(p[g * weight_stride + j]) * double(static_cast<float>(values[std::size_t(j * stride + d)]));
      expected.push_back(sum);
    }
  kernel::row_mix<T>(p.data(), weight_stride, rows, static_cast<const U*>(values.data()), stride, count, width,
                     o.data(), padded);
  for (Index g = 0; g < rows; ++g)
    for (Index d = 0; d < width; ++d) REQUIRE(double(o[g * padded + d]) == expected[std::size_t(g * width + d)]);
  REQUIRE(o.intact());
}

template <class T, class U>
void check_all() {
  for (Index rows = 1; rows <= 17; ++rows)
    for (Index width = 1; width <= 70; width += width < 36 ? 1 : 5)
      for (const Index count : {1, 3, 17}) {
        const Index gap = rows % 2 == 0 ? 0 : 5;
        check_dot<T, U>(rows, width, count, gap);
        check_mix<T, U>(rows, width, count, gap);
      }
  for (const Index count : {2, 4, 5, 8, 16, 40, 64})
    for (const Index rows : {1, 2, 3, 4, 7}) {
      check_dot<T, U>(rows, 33, count, 1);
      check_mix<T, U>(rows, 33, count, 1);
    }
  for (const Index width : {128, 129, 255, 256}) {
    check_dot<T, U>(5, width, 3, 0);
    check_mix<T, U>(5, width, 3, 0);
    for (const Index rows : {8, 11, 16})
      for (const Index count : {64, 70, 130}) {
        check_dot<T, U>(rows, width, count, 0);
        check_mix<T, U>(rows, width, count, 0);
      }
  }
}

// A row's sum is taken in the same order however many rows and keys go along.
template <class T>
void check_same_bits() {
  constexpr Index width = 141, count = 83, rows = 15;
  const Index padded = kernel::padded<T>(width), wide = kernel::padded<T>(count);
  std::mt19937 engine(5);
  std::normal_distribution<double> normal;
  AlignedRow<T> q(rows * padded, T(0)), p(rows * count), all(rows * wide), one(wide), sums(rows * padded, T(0)),
      sum(padded, T(0));
  for (Index g = 0; g < rows; ++g)
    for (Index d = 0; d < width; ++d) q[g * padded + d] = T(normal(engine));
  std::vector<T> keys(std::size_t(count * width));
  for (T& x : keys) x = T(normal(engine));
  for (Index i = 0; i < rows * count; ++i) p[i] = T(normal(engine));
  dot<T>(q.data(), padded, rows, keys.data(), width, count, width, all.data(), wide);
  kernel::row_mix<T>(p.data(), count, rows, keys.data(), width, count, width, sums.data(), padded, 0,
                     kernel::upcoming(keys.data(), width, count, width));
  for (Index g = 0; g < rows; ++g) {
    for (Index j = 0; j < count; ++j) {
      dot<T>(q.data() + g * padded, padded, 1, keys.data() + j * width, width, 1, width, one.data(), wide);
      REQUIRE(std::memcmp(one.data(), all.data() + g * wide + j, sizeof(T)) == 0);
    }
    std::fill_n(sum.data(), padded, T(0));
    for (Index j = 0; j < count; ++j)
      kernel::row_mix<T>(&p[g * count + j], count, 1, keys.data() + j * width, width, 1, width, sum.data(), padded);
    REQUIRE(std::memcmp(sum.data(), sums.data() + g * padded, std::size_t(width) * sizeof(T)) == 0);
  }
}

}  // namespace

TEST_CASE("row_dot and row_mix of float") { check_all<float, float>(); }
TEST_CASE("row_dot and row_mix of double") { check_all<double, double>(); }
TEST_CASE("row_dot and row_mix of bfloat16") { check_all<float, bfloat16>(); }
TEST_CASE("row_dot and row_mix of half") { check_all<float, half>(); }

TEMPLATE_TEST_CASE("The order of summation is a row's own", "", float, double) { check_same_bits<TestType>(); }

TEMPLATE_TEST_CASE("Keys in any order of memory", "", float, double) {
  using T = TestType;
  constexpr Index width = 19, count = 7;
  const Index padded = kernel::padded<T>(width);
  AlignedRow<T> q(padded, T(0)), score(kernel::padded<T>(count));
  for (Index d = 0; d < width; ++d) q[d] = 1;
  std::vector<T> keys;
  for (Index j = 0; j < count; ++j)
    for (Index d = 0; d < width; ++d) keys.push_back(T(j));
  dot<T>(q.data(), padded, 1, keys.data() + (count - 1) * width, -width, count, width, score.data(), score.size());
  for (Index j = 0; j < count; ++j) CHECK(score[j] == T(width * (count - 1 - j)));
  dot<T>(q.data(), padded, 1, keys.data() + width, 0, count, width, score.data(), score.size());
  for (Index j = 0; j < count; ++j) CHECK(score[j] == T(width));
}
