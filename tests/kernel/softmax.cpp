// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/softmax.hpp"

#include "catch.hpp"
#include "support/lanes.hpp"
#include "support/panels.hpp"

using heed::Index;
using heed::test::AlignedRow;
using heed::test::lanes_of;
using heed::test::Panel;
namespace kernel = heed::kernel;
namespace simd = heed::simd;

namespace {

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// Binary scores up to 0 whose distance from the shifts is exact, some of them hidden.
template <class T>
std::vector<T> some_scores(Index count, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<T> scores;
  for (Index i = 0; i < count; ++i) scores.push_back(i % 7 == 3 ? -kInfinity<T> : -T(engine() % 2000) / T(64));
  return scores;
}

template <kernel::Base B, class T, int NV>
void check_panel() {
  constexpr Index columns = NV * simd::kLanes<T>;
  for (const Index rows : {0, 1, 2, 5, 96}) {
    CAPTURE(NV, rows);
    Panel<T> panel(rows);
    const auto scores = some_scores<T>(rows * columns, unsigned(rows + NV));
    for (Index j = 0; j < rows; ++j)
      for (Index i = 0; i < columns; ++i) panel(j, i) = scores[std::size_t(j * columns + i)];
    simd::Batch<T> shift[NV], sum[NV];
    for (int v = 0; v < NV; ++v) {
      shift[v] = heed::test::batch_of<T>([&](int i) { return T(i) / 2; });
      sum[v] = simd::Batch<T>(T(0.25));
    }
    kernel::panel_exponentials<B, NV, T>(panel.data(), rows, shift, sum);
    for (Index i = 0; i < columns; ++i) {
      double total = 0.25, bound = 1e-15;
      for (Index j = 0; j < rows; ++j) {
        const T score = scores[std::size_t(j * columns + i)];
        if (score == -kInfinity<T>) {
          REQUIRE(panel(j, i) == 0);
        } else {
          const double distance = double(score) - double(i % simd::kLanes<T>) / 2;
          // To the base e the exponent is rounded once more, when log2 e is multiplied in.
          const long double want =
              B == kernel::Base::kTwo ? std::exp2((long double)(distance)) : std::exp((long double)(distance));
          REQUIRE(heed::test::ulps<T>(panel(j, i), want) <= (B == kernel::Base::kTwo ? 2 : 2 - 2 * distance));
        }
        total += double(panel(j, i));
        bound += total * double(std::numeric_limits<T>::epsilon());
      }
      const T got = lanes_of<T>(sum[i / simd::kLanes<T>])[std::size_t(i % simd::kLanes<T>)];
      REQUIRE(std::fabs(double(got) - total) <= bound);
    }
    for (Index j = 0; j < rows; ++j)
      for (Index i = columns; i < kernel::kPanelWidth<T>; ++i) REQUIRE(std::isnan(panel(j, i)));
    REQUIRE(panel.intact());
  }
  if constexpr (NV < kernel::kPanelBatches) check_panel<B, T, NV + 1>();
}

}  // namespace

TEMPLATE_TEST_CASE("panel_exponentials", "", float, double) {
  check_panel<kernel::Base::kTwo, TestType, 1>();
  check_panel<kernel::Base::kE, TestType, 1>();
}

TEMPLATE_TEST_CASE("An exponential of NaN is NaN, and so is the sum of its column", "", float, double) {
  using T = TestType;
  constexpr int NV = kernel::kPanelBatches;
  for (Index bad = 0; bad < kernel::kPanelWidth<T>; bad += 3) {
    Panel<T> panel(5, T(-1));
    panel(2, bad) = std::numeric_limits<T>::quiet_NaN();
    simd::Batch<T> shift[NV], sum[NV];
    for (int v = 0; v < NV; ++v) shift[v] = sum[v] = simd::Batch<T>(T(0));
    kernel::panel_exponentials<kernel::Base::kTwo, NV, T>(panel.data(), 5, shift, sum);
    for (Index i = 0; i < kernel::kPanelWidth<T>; ++i)
      REQUIRE(std::isnan(lanes_of<T>(sum[i / simd::kLanes<T>])[std::size_t(i % simd::kLanes<T>)]) == (i == bad));
  }
}
