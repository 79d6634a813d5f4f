// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/resample.hpp"

#include "heed/autodiff/max_pool.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

// The mean and the largest of windows that are given by their ends.
template <class T, class Begin, class End>
void check_pools(const Tensor<T, 4>& x, const Tensor<T, 4>& mean, const Tensor<T, 4>& most, const Begin& begin,
                 const End& end) {
  REQUIRE(heed::const_view(mean).sizes == heed::const_view(most).sizes);
  Tensor<double, 4> want_mean(mean.dimensions()), want_most(mean.dimensions());
  for (Index b = 0; b < mean.dimension(0); ++b)
    for (Index c = 0; c < mean.dimension(1); ++c)
      for (Index i = 0; i < mean.dimension(2); ++i)
        for (Index j = 0; j < mean.dimension(3); ++j) {
          double sum = 0, largest = -1e30, count = 0;
          for (Index u = begin(0, i); u < end(0, i); ++u)
            for (Index v = begin(1, j); v < end(1, j); ++v) {
              sum += double(x(b, c, u, v));
              largest = std::max(largest, double(x(b, c, u, v)));
              ++count;
            }
          want_mean(b, c, i, j) = sum / count;
          want_most(b, c, i, j) = largest;
        }
  CHECK(error_of(mean, want_mean) < 1e-6);
  CHECK(error_of(most, want_most) == 0);
}

}  // namespace

TEMPLATE_TEST_CASE("Pooling over windows", "", float, double) {
  using T = TestType;
  const auto x = random_tensor<T, 4>({2, 3, 9, 17}, 1);
  const heed::PoolOptions options{.kernel = {3, 4}, .stride = {2, 3}, .padding = {1, 2}, .include_padding = false};
  const std::array<Index, 2> sizes{9, 17};
  check_pools<T>(
      x, heed::average_pool(x, options), heed::max_pool(x, options),
      [&](std::size_t a, Index i) { return std::max<Index>(0, i * options.stride[a] - options.padding[a]); },
      [&](std::size_t a, Index i) {
        return std::min(sizes[a], i * options.stride[a] - options.padding[a] + options.kernel[a]);
      });
  for (const std::array<Index, 2> cells : {std::array<Index, 2>{1, 1}, {4, 5}, {9, 17}, {12, 20}})
    check_pools<T>(
        x, heed::adaptive_average_pool(x, cells), heed::adaptive_max_pool(x, cells),
        [&](std::size_t a, Index i) { return i * sizes[a] / cells[a]; },
        [&](std::size_t a, Index i) { return ((i + 1) * sizes[a] + cells[a] - 1) / cells[a]; });

  // Trailing rows and columns are dropped; zeros around the map count where they are asked to.
  const Tensor<T, 4> halves = heed::max_pool(x, {.kernel = {2, 2}});
  CHECK(heed::const_view(halves).sizes == std::array<Index, 4>{2, 3, 4, 8});
  const Tensor<T, 4> corner = heed::average_pool(x, {.kernel = {2, 2}, .stride = {1, 1}, .padding = {1, 1}});
  CHECK(double(corner(0, 0, 0, 0)) == Approx(double(x(0, 0, 0, 0)) / 4));
  auto poisoned = x;
  poisoned(1, 2, 3, 4) = T(kNaN);
  CHECK(std::isnan(heed::max_pool(poisoned, {.kernel = {2, 2}})(1, 2, 1, 2)));
  CHECK_THROWS_AS(heed::max_pool(x, {.kernel = {10, 2}}), heed::Error);
  CHECK_THROWS_AS(heed::average_pool(Tensor<T, 4>(1, 1, 0, 4), {.kernel = {1, 1}}), heed::Error);
}

TEST_CASE("Resizing reads where it says") {
  const auto x = random_tensor<double, 4>({1, 2, 5, 7}, 1);
  const auto at = [&](double source, Index size) {
    const Index low = std::min(Index(source), size - 1);
    return std::make_tuple(low, std::min(low + 1, size - 1), source - double(low));
  };
  for (const std::array<Index, 2> to : {std::array<Index, 2>{10, 14}, {3, 17}, {1, 1}, {5, 7}})
    for (const bool align : {false, true}) {
      const Tensor<double, 4> y = heed::resize_bilinear(x, to, align);
      const Tensor<double, 4> nearest = heed::resize_nearest(x, to);
      for (Index i = 0; i < to[0]; ++i)
        for (Index j = 0; j < to[1]; ++j) {
          const auto source = [&](Index k, Index n, Index o) {
            if (align) return o == 1 ? 0.0 : double(k) * double(n - 1) / double(o - 1);
            return std::max(0.0, (double(k) + 0.5) * double(n) / double(o) - 0.5);
          };
          const auto [top, below, v] = at(source(i, 5, to[0]), 5);
          const auto [left, right, u] = at(source(j, 7, to[1]), 7);
          const double want = (1 - v) * ((1 - u) * x(0, 1, top, left) + u * x(0, 1, top, right)) +
                              v * ((1 - u) * x(0, 1, below, left) + u * x(0, 1, below, right));
          CHECK(y(0, 1, i, j) == Approx(want).margin(1e-12));
          CHECK(nearest(0, 1, i, j) == x(0, 1, i * 5 / to[0], j * 7 / to[1]));
        }
    }
  CHECK_THROWS_AS(heed::resize_nearest(x, {0, 3}), heed::Error);
}

TEST_CASE("Maps of channels last, and storage of 16 bits") {
  const auto last = random_tensor<float, 4>({2, 6, 9, 3}, 1);
  const auto map = heed::view(last).permute({0, 3, 1, 2});
  const Tensor<float, 4> plain =
      heed::view(last).count() ? Tensor<float, 4>(last.shuffle(std::array<int, 4>{0, 3, 1, 2})) : Tensor<float, 4>();
  CHECK(error_of(heed::average_pool(map, {.kernel = {3, 2}}), heed::average_pool(plain, {.kernel = {3, 2}})) == 0);
  CHECK(error_of(heed::max_pool(map, {.kernel = {3, 2}}), heed::max_pool(plain, {.kernel = {3, 2}})) == 0);
  CHECK(error_of(heed::resize_bilinear(map, {5, 11}), heed::resize_bilinear(plain, {5, 11})) == 0);
  const Tensor<heed::bfloat16, 4> narrow = plain.cast<heed::bfloat16>();
  CHECK(error_of(heed::max_pool(narrow, {.kernel = {3, 2}}),
                 Tensor<heed::bfloat16, 4>(heed::max_pool(plain, {.kernel = {3, 2}}).cast<heed::bfloat16>())) == 0);
}

TEST_CASE("Gradients of pooling and resizing") {
  auto x = random_tensor<double, 4>({2, 2, 5, 6}, 1);
  const heed::PoolOptions options{.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 0}};
  check_gradients(
      [&](auto&, const auto& v) {
        return std::make_tuple(heed::average_pool(v, options), heed::max_pool(v, options),
                               heed::adaptive_average_pool(v, {2, 4}), heed::adaptive_max_pool(v, {3, 7}));
      },
      x);
  check_gradients(
      [&](auto&, const auto& v) {
        return std::make_tuple(heed::resize_nearest(v, {7, 4}), heed::resize_bilinear(v, {7, 4}),
                               heed::resize_bilinear(v.permute({0, 1, 3, 2}), {3, 9}, true));
      },
      x);
}
