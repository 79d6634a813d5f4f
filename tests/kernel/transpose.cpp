// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/transpose.hpp"

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
using heed::test::Panel;
namespace kernel = heed::kernel;
namespace simd = heed::simd;

namespace {

// Rows at any strides whose elements fill guarded memory from edge to edge.
template <class U>
struct Rows {
  Index row_stride, inner_stride;
  Guarded<U> memory;
  U* first;

  Rows(Index count, Index depth, Index row_stride, Index inner_stride, Edge edge)
      : row_stride(row_stride),
        inner_stride(inner_stride),
        memory(std::size_t((count - 1) * std::abs(row_stride) + (depth - 1) * std::abs(inner_stride) + 1), edge),
        first(memory.data() + (row_stride < 0 ? -row_stride * (count - 1) : 0) +
              (inner_stride < 0 ? -inner_stride * (depth - 1) : 0)) {}
  U& operator()(Index i, Index d) { return first[i * row_stride + d * inner_stride]; }
};

template <class T, class U>
void check_to_panel(Index count, Index depth, Index row_stride, Index inner_stride) {
  CAPTURE(count, depth, row_stride, inner_stride);
  Rows<U> rows(count, depth, row_stride, inner_stride, count % 2 == 0 ? Edge::kBegin : Edge::kEnd);
  Noise noise(unsigned(count * 100 + depth));
  for (U& x : rows.memory) x = static_cast<U>(noise());
  Panel<T> panel(depth);
  kernel::rows_to_panel<T>(static_cast<const U*>(rows.first), row_stride, inner_stride, count, depth, T(0.5),
                           panel.data());
  const Index filled = (count + simd::kLanes<T> - 1) / simd::kLanes<T> * simd::kLanes<T>;
  for (Index d = 0; d < depth; ++d)
    for (Index i = 0; i < kernel::kPanelWidth<T>; ++i) {
      if (i < count) {
        REQUIRE(panel(d, i) == T(static_cast<float>(rows(i, d))) * T(0.5));
      } else if (i >= filled) {
        REQUIRE(std::isnan(panel(d, i)));
      } else {
        REQUIRE(std::isfinite(panel(d, i)));
      }
    }
  REQUIRE(panel.intact());
}

template <class T, class U>
void check_to_rows(Index count, Index depth, Index row_stride, Index inner_stride) {
  CAPTURE(count, depth, row_stride, inner_stride);
  Rows<U> rows(count, depth, row_stride, inner_stride, count % 2 == 0 ? Edge::kEnd : Edge::kBegin);
  for (U& x : rows.memory) x = static_cast<U>(-9.f);
  Noise noise(unsigned(count * 100 + depth));
  Panel<T> panel(depth);
  AlignedRow<T> scale(kernel::kPanelWidth<T>);
  for (Index i = 0; i < count; ++i) scale[i] = T(1 + i % 3);
  for (Index d = 0; d < depth; ++d)
    for (Index i = 0; i < count; ++i) panel(d, i) = T(noise());
  kernel::panel_to_rows<T>(panel.data(), scale.data(), count, depth, rows.first, row_stride, inner_stride);
  Index written = 0;
  for (Index i = 0; i < count; ++i)
    for (Index d = 0; d < depth; ++d)
      REQUIRE(static_cast<float>(rows(i, d)) == static_cast<float>(static_cast<U>(panel(d, i) * scale[i])));
  for (const U x : rows.memory) written += static_cast<float>(x) != -9.f;
  REQUIRE(written == count * depth);
}

template <class T, class U>
void check_both() {
  for (Index count = 1; count <= kernel::kPanelWidth<T>; count += 1 + count / 9)
    for (const Index depth : {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 40}) {
      for (const Index gap : {0, 3}) {
        check_to_panel<T, U>(count, depth, depth + gap, 1);
        check_to_rows<T, U>(count, depth, depth + gap, 1);
        check_to_panel<T, U>(count, depth, -(depth + gap), 1);
        check_to_rows<T, U>(count, depth, -(depth + gap), 1);
      }
      check_to_panel<T, U>(count, depth, 1, count);
      check_to_rows<T, U>(count, depth, 1, count);
      check_to_panel<T, U>(count, depth, 2 * depth, 2);
      check_to_rows<T, U>(count, depth, 2 * depth, 2);
      check_to_panel<T, U>(count, depth, depth, -1);
      check_to_rows<T, U>(count, depth, depth, -1);
      check_to_panel<T, U>(count, depth, 0, 1);
      check_to_panel<T, U>(count, depth, 0, 2);
      check_to_panel<T, U>(count, depth, 1, 0);
    }
}

template <class T, class U>
void check_copy() {
  for (const Index rows : {1, 2, 5})
    for (Index width = 1; width <= 40; ++width)
      for (const Index inner : {1, 2, -1}) {
        CAPTURE(rows, width, inner);
        const Index stride = std::abs(inner) * width + 1;
        Rows<U> from(rows, width, stride, inner, Edge::kEnd);
        Noise noise{unsigned(width)};
        for (U& x : from.memory) x = static_cast<U>(noise());
        const Index target_stride = width + 2;
        const Guarded<T> to(std::size_t((rows - 1) * target_stride + width));
        for (T& x : to) x = T(-9);
        kernel::copy_rows<T>(static_cast<const U*>(from.first), stride, inner, rows, width, to.data(), target_stride);
        Index written = 0;
        for (Index j = 0; j < rows; ++j)
          for (Index d = 0; d < width; ++d)
            REQUIRE(to[std::size_t(j * target_stride + d)] == T(static_cast<float>(from(j, d))));
        for (const T x : to) written += x != T(-9);
        REQUIRE(written == rows * width);
      }
}

template <class T, class U>
void check_finite() {
  using Limits = std::numeric_limits<float>;
  for (Index width = 1; width <= 70; width += 1 + width / 9)
    for (const Index rows : {1, 2, 17}) {
      CAPTURE(rows, width);
      const Index stride = width + 1;
      Rows<U> data(rows, width, stride, 1, width % 2 == 0 ? Edge::kEnd : Edge::kBegin);
      for (U& x : data.memory) x = static_cast<U>(Limits::quiet_NaN());  // the gaps are none of its business
      const auto finite = [&] { return kernel::all_finite<T>(static_cast<const U*>(data.first), stride, rows, width); };
      for (Index j = 0; j < rows; ++j)
        for (Index d = 0; d < width; ++d) data(j, d) = static_cast<U>(d % 2 == 0 ? -3e4f : 6e4f);
      REQUIRE(finite());
      for (Index j = 0; j < rows; ++j)
        for (Index d = 0; d < width; ++d)
          for (const float bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
            const U good = data(j, d);
            data(j, d) = static_cast<U>(bad);
            REQUIRE_FALSE(finite());
            data(j, d) = good;
          }
    }
}

// Entries have 7 bits, so that every sum is exact.
template <class T>
void check_add_to_rows(Index count, Index depth) {
  CAPTURE(count, depth);
  constexpr Index w = simd::kLanes<T>, kRows = 2 * kernel::kPanelWidth<T>;
  const Index stride = (depth + w - 1) / w * w;
  Noise noise(unsigned(count * 100 + depth));
  Panel<T> panel(depth);
  AlignedRow<T> scale(kernel::kPanelWidth<T>), kept(kernel::kPanelWidth<T>), target(kRows * stride);
  for (Index i = 0; i < kernel::kPanelWidth<T>; ++i) {
    for (Index d = 0; d < depth; ++d) panel(d, i) = T(noise());
    scale.data()[i] = T(0.5);
    kept.data()[i] = T(noise());
  }
  for (Index x = 0; x < kRows * stride; ++x) target.data()[x] = T(noise());
  const std::vector<T> before(target.data(), target.data() + kRows * stride);
  std::vector<std::int32_t> which;  // every other row, from the last one on
  for (Index i = 0; i < kernel::kPanelWidth<T>; ++i) which.push_back(std::int32_t(kRows - 1 - 2 * i));
  kernel::add_panel_to_rows<T>(panel.data(), scale.data(), kept.data(), count, depth, target.data(), stride,
                               which.data());
  for (Index row = 0; row < kRows; ++row) {
    const Index i = (kRows - 1 - row) / 2;
    const bool named = (kRows - 1 - row) % 2 == 0 && i < count;
    for (Index d = 0; d < (named ? depth : stride); ++d) {
      const T old = before[std::size_t(row * stride + d)];
      REQUIRE(target.data()[row * stride + d] == (named ? old * kept.data()[i] + panel(d, i) * T(0.5) : old));
    }
  }
}

}  // namespace

TEST_CASE("Rows to a panel and back, float") { check_both<float, float>(); }
TEST_CASE("Rows to a panel and back, double") { check_both<double, double>(); }
TEST_CASE("Rows to a panel and back, bfloat16") { check_both<float, bfloat16>(); }
TEST_CASE("Rows to a panel and back, half") { check_both<float, half>(); }

TEST_CASE("copy_rows") {
  check_copy<float, float>();
  check_copy<double, double>();
  check_copy<float, bfloat16>();
  check_copy<float, half>();
}

TEST_CASE("all_finite finds NaN and infinity wherever they are") {
  check_finite<float, float>();
  check_finite<double, double>();
  check_finite<float, bfloat16>();
  check_finite<float, half>();
}

TEMPLATE_TEST_CASE("all_finite accepts every finite number", "", float, double) {
  using T = TestType;
  using Limits = std::numeric_limits<T>;
  for (const T x : {Limits::max(), Limits::lowest(), Limits::min(), Limits::denorm_min(), T(-0.0)}) {
    const std::vector<T> data(70, x);
    CHECK(kernel::all_finite<T>(data.data(), 35, 2, 35));
  }
  CHECK(kernel::all_finite<T>(static_cast<const T*>(nullptr), 0, 0, 5));
}

TEMPLATE_TEST_CASE("add_panel_to_rows adds to the rows that are named, and to no other", "", float, double) {
  for (const Index count : {1, 3, simd::kLanes<TestType>, kernel::kPanelWidth<TestType>})
    for (const Index depth : {1, 7, 17, 64}) check_add_to_rows<TestType>(count, depth);
}
