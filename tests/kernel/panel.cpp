// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/panel.hpp"

#include "catch.hpp"
#include "support/guarded.hpp"
#include "support/lanes.hpp"
#include "support/panels.hpp"

using heed::Index;
using heed::test::AlignedRow;
using heed::test::Edge;
using heed::test::Guarded;
using heed::test::lanes_of;
using heed::test::Noise;
using heed::test::Panel;
namespace kernel = heed::kernel;
namespace simd = heed::simd;

namespace {

template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// Entries have 7 bits, so that sums of 64 products are exact in either type.
template <class T, int NV>
void check_dot(Index rows, Index depth, Index gap, Edge edge, bool adds = false) {
  CAPTURE(NV, rows, depth, gap, adds);
  const Index columns = NV * simd::kLanes<T>, stride = depth + gap;
  Noise noise(unsigned(rows * 1000 + depth));
  const Guarded<T> a(std::size_t((rows - 1) * stride + depth), edge);
  for (T& x : a) x = T(noise());
  Panel<T> b(depth), c(rows), added(rows);
  for (Index d = 0; d < depth; ++d)
    for (Index i = 0; i < columns; ++i) b(d, i) = T(noise());
  for (Index j = 0; j < rows; ++j)
    for (Index i = 0; i < columns; ++i) added(j, i) = T(noise());
  simd::Batch<T> highest[NV];
  for (int v = 0; v < NV; ++v) highest[v] = simd::Batch<T>(v == 0 ? T(-0.125) : -kInfinity<T>);
  kernel::panel_dot<NV, T>(a.data(), stride, rows, b.data(), depth, c.data(), highest, {}, {},
                           adds ? added.data() : nullptr);
  for (Index i = 0; i < columns; ++i) {
    double top = i < simd::kLanes<T> ? -0.125 : -kInfinity<double>;
    for (Index j = 0; j < rows; ++j) {
      double expected = adds ? double(added(j, i)) : 0;
      for (Index d = 0; d < depth; ++d) expected += double(a[std::size_t(j * stride + d)]) * double(b(d, i));
      REQUIRE(double(c(j, i)) == expected);
      top = std::max(top, expected);
    }
    REQUIRE(double(lanes_of<T>(highest[i / simd::kLanes<T>])[std::size_t(i % simd::kLanes<T>)]) == top);
  }
  for (Index j = 0; j < rows; ++j)
    for (Index i = columns; i < kernel::kPanelWidth<T>; ++i) REQUIRE(std::isnan(c(j, i)));
  REQUIRE(c.intact());
}

template <class T, int NV>
void check_accumulate(Index rows, Index depth, Index gap, bool scaled, Edge edge) {
  CAPTURE(NV, rows, depth, gap, scaled);
  const Index columns = NV * simd::kLanes<T>, stride = rows + gap;
  Noise noise(unsigned(rows * 1000 + depth + 1));
  const Guarded<T> a(std::size_t((depth - 1) * stride + rows), edge);
  for (T& x : a) x = T(noise());
  Panel<T> b(depth), c(rows);
  for (Index j = 0; j < depth; ++j)
    for (Index i = 0; i < columns; ++i) b(j, i) = T(noise());
  simd::Batch<T> scale[NV];
  for (int v = 0; v < NV; ++v) scale[v] = heed::test::batch_of<T>([&](int i) { return T((i + v) % 4) / T(2); });
  std::vector<double> expected;
  for (Index d = 0; d < rows; ++d)
    for (Index i = 0; i < columns; ++i) {
      if (scaled) c(d, i) = T(noise());
      double sum = scaled ? double(c(d, i)) * double((i % simd::kLanes<T> + i / simd::kLanes<T>) % 4) / 2 : 0.;
      for (Index j = 0; j < depth; ++j) sum += double(a[std::size_t(j * stride + d)]) * double(b(j, i));
      expected.push_back(sum);
    }
  kernel::panel_accumulate<NV, T>(a.data(), stride, rows, b.data(), depth, c.data(), scaled ? scale : nullptr);
  for (Index d = 0; d < rows; ++d) {
    for (Index i = 0; i < columns; ++i) REQUIRE(double(c(d, i)) == expected[std::size_t(d * columns + i)]);
    for (Index i = columns; i < kernel::kPanelWidth<T>; ++i) REQUIRE(std::isnan(c(d, i)));
  }
  REQUIRE(c.intact());
}

template <class T, int NV>
void check_all() {
  for (Index rows = 1; rows <= 40; ++rows)
    for (const Index depth : {1, 2, 3, 7, 16, 17, 33, 64})
      for (const Index gap : {0, 5}) {
        const Edge edge = rows % 2 == 0 ? Edge::kBegin : Edge::kEnd;
        check_dot<T, NV>(rows, depth, gap, edge, gap > 0);
        check_accumulate<T, NV>(rows, depth, gap, false, edge);
        check_accumulate<T, NV>(rows, depth, gap, true, edge);
      }
  if constexpr (NV < kernel::kPanelBatches) check_all<T, NV + 1>();
}

// Numbers of 24 bits, against the bound of a sum of `depth` rounded products.
template <class T>
void check_rounding() {
  constexpr int NV = kernel::kPanelBatches;
  constexpr Index rows = 31, depth = 129;
  std::mt19937 engine(3);
  std::normal_distribution<double> normal;
  std::vector<T> a(std::size_t(rows * depth));
  for (T& x : a) x = T(normal(engine));
  Panel<T> b(depth), c(rows);
  for (Index i = 0; i < b.size(); ++i) b[i] = T(normal(engine));
  simd::Batch<T> highest[NV];
  for (auto& x : highest) x = simd::Batch<T>(-kInfinity<T>);
  kernel::panel_dot<NV, T>(a.data(), depth, rows, b.data(), depth, c.data(), highest);
  double worst = 0;
  for (Index j = 0; j < rows; ++j)
    for (Index i = 0; i < kernel::kPanelWidth<T>; ++i) {
      long double sum = 0, magnitude = 0;
      for (Index d = 0; d < depth; ++d) {
        const long double product = (long double)(a[std::size_t(j * depth + d)]) * (long double)(b(d, i));
        sum += product;
        magnitude += std::fabs(product);
      }
      worst = std::max(worst, double(std::fabs(c(j, i) - sum) / magnitude));
    }
  CHECK(worst <= 129 * double(std::numeric_limits<T>::epsilon()));
}

}  // namespace

TEST_CASE("panel_dot and panel_accumulate of float") { check_all<float, 1>(); }
TEST_CASE("panel_dot and panel_accumulate of double") { check_all<double, 1>(); }

TEMPLATE_TEST_CASE("panel_dot errs by no more than its roundings", "", float, double) { check_rounding<TestType>(); }

TEMPLATE_TEST_CASE("A stride of 0 or below", "", float, double) {
  using T = TestType;
  constexpr Index depth = 5, rows = 9;
  std::vector<T> a{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  Panel<T> b(depth, T(1)), c(rows);
  simd::Batch<T> highest[1] = {simd::Batch<T>(T(0))};
  kernel::panel_dot<1, T>(a.data(), 0, rows, b.data(), depth, c.data(), highest);
  for (Index j = 0; j < rows; ++j) CHECK(c(j, 0) == 15);
  kernel::panel_dot<1, T>(a.data() + 8, -1, rows, b.data(), depth, c.data(), highest);
  for (Index j = 0; j < rows; ++j) CHECK(c(j, 0) == T(5 * (9 - j) + 10));
  CHECK(lanes_of<T>(highest[0])[0] == 55);
}

TEMPLATE_TEST_CASE("Columns do not see each other's NaN", "", float, double) {
  using T = TestType;
  constexpr int NV = kernel::kPanelBatches;
  constexpr Index depth = 7, rows = 23;
  const std::vector<T> a(std::size_t(rows * depth), T(1));
  for (Index bad = 0; bad < kernel::kPanelWidth<T>; bad += 5) {
    Panel<T> b(depth, T(1)), c(rows);
    b(3, bad) = kNaN<T>;
    simd::Batch<T> highest[NV];
    for (auto& x : highest) x = simd::Batch<T>(-kInfinity<T>);
    kernel::panel_dot<NV, T>(a.data(), depth, rows, b.data(), depth, c.data(), highest);
    for (Index j = 0; j < rows; ++j)
      for (Index i = 0; i < kernel::kPanelWidth<T>; ++i)
        if (i == bad) {
          REQUIRE(std::isnan(c(j, i)));
        } else {
          REQUIRE(c(j, i) == 7);
        }
  }
}

TEST_CASE("with_batches calls for the number it is given") {
  for (int batches = 1; batches <= kernel::kPanelBatches; ++batches) {
    int called = 0;
    kernel::with_batches(batches, [&]<int NV>() { called = NV; });
    CHECK(called == batches);
  }
}
