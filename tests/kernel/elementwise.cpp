// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/elementwise.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "catch.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::kernel::Write;

namespace {

template <class T, int Rank>
Tensor<T, Rank> random_tensor(const std::array<Index, std::size_t(Rank)>& sizes, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal;
  Tensor<T, Rank> x;
  x.resize(sizes);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = T(normal(engine));
  return x;
}

const auto multiply = [](auto a, auto b) { return a * b; };

}  // namespace

TEMPLATE_TEST_CASE("Elements of any strides", "", float, double) {
  using T = TestType;
  for (const Index width : {1, 3, 17, 63, 600}) {
    CAPTURE(width);
    const auto a = random_tensor<T, 3>({3, 5, width}, 1), b = random_tensor<T, 3>({width, 5, 3}, 2);
    const View<const T, 3> x(a), turned = View<const T, 3>(b).permute({2, 1, 0});
    const View<const T, 3> row = x.slice(0, 1, 1).slice(1, 2, 1).broadcast(x.sizes, "test", "row");
    Tensor<T, 3> out(3, 5, width), flipped(width, 3, 5);
    out.setConstant(std::numeric_limits<T>::quiet_NaN());
    flipped.setConstant(1);
    heed::kernel::elementwise<Write::kAssign, T>(Eigen::DefaultDevice(), multiply, View<T, 3>(out), x, turned);
    heed::kernel::elementwise<Write::kAdd, T>(Eigen::DefaultDevice(), multiply, View<T, 3>(flipped).permute({1, 2, 0}),
                                              x, row);
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 5; ++j)
        for (Index k = 0; k < width; ++k) {
          REQUIRE(out(i, j, k) == a(i, j, k) * b(k, j, i));
          REQUIRE(std::abs(flipped(k, i, j) - (T(1) + a(i, j, k) * a(1, 2, k))) <= T(1e-6));
        }
  }
}

TEST_CASE("Nothing is written beside the elements") {
  Tensor<float, 2> wide(4, 20);
  wide.setConstant(7);
  const Tensor<float, 2> x = random_tensor<float, 2>({4, 3}, 1);
  heed::kernel::copy<Write::kAssign>(Eigen::DefaultDevice(), View<const float, 2>(x),
                                     View<float, 2>(wide).slice(1, 5, 3));
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 20; ++j) CHECK(wide(i, j) == (j >= 5 && j < 8 ? x(i, j - 5) : 7));
}

TEMPLATE_TEST_CASE("Sums over every set of axes", "", float, double) {
  using T = TestType;
  const auto x = random_tensor<T, 3>({3, 300, 37}, 1);
  for (int kept = 0; kept < 8; ++kept) {
    CAPTURE(kept);
    std::array<Index, 3> sizes{};
    for (int a = 0; a < 3; ++a) sizes[std::size_t(a)] = kept >> a & 1 ? x.dimension(std::size_t(a)) : 1;
    Tensor<T, 3> sum;
    sum.resize(sizes);
    sum.setConstant(T(0.5));
    Tensor<double, 3> want = sum.template cast<double>();
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 300; ++j)
        for (Index k = 0; k < 37; ++k) want(kept & 1 ? i : 0, kept & 2 ? j : 0, kept & 4 ? k : 0) += double(x(i, j, k));
    const auto add = [&](const auto& device, Tensor<T, 3>& to) {
      heed::kernel::copy<Write::kAdd>(device, View<const T, 3>(x),
                                      View<T, 3>(to).broadcast({3, 300, 37}, "test", "sum"));
    };
    Tensor<T, 3> threaded = sum;
    add(Eigen::DefaultDevice(), sum);
    for (Index i = 0; i < sum.size(); ++i)
      CHECK(std::abs(double(sum.data()[i]) - want.data()[i]) <=
            1e3 * double(std::numeric_limits<T>::epsilon()) * (1 + std::abs(want.data()[i])));
    Eigen::ThreadPool pool(3);
    add(Eigen::ThreadPoolDevice(&pool, 3), threaded);
    CHECK(std::memcmp(sum.data(), threaded.data(), sizeof(T) * std::size_t(sum.size())) == 0);
  }
}

TEST_CASE("A sum of many stays close") {
  Tensor<float, 1> x(1 << 20), sum(1);
  x.setConstant(0.1f);
  sum.setZero();
  heed::kernel::copy<Write::kAdd>(Eigen::DefaultDevice(), View<const float, 1>(x),
                                  View<float, 1>(sum).broadcast({1 << 20}, "test", "sum"));
  // One accumulator is off by 0.0099; the bound of the runs is 5e-4.
  CHECK(std::abs(double(sum(0)) / (0.1f * double(1 << 20)) - 1) < 5e-5);
}

TEST_CASE("Lanes that do not exist take no part in a sum") {
  Tensor<float, 1> x(3), sum(1);
  x.setConstant(2);
  sum.setZero();
  heed::kernel::elementwise<Write::kAdd, float>(
      Eigen::DefaultDevice(), [](auto a) { return decltype(a)(1.0f) / a; },
      View<float, 1>(sum).broadcast({3}, "test", "sum"), View<const float, 1>(x));
  CHECK(sum(0) == 1.5f);
}

TEST_CASE("No elements, no work") {
  Tensor<float, 2> none(0, 3), out(0, 3);
  heed::kernel::copy<Write::kAssign>(Eigen::DefaultDevice(), View<const float, 2>(none), View<float, 2>(out));
}

TEST_CASE("A result that passes the caches holds the same, in place too") {
  const Index channels = 5,
              positions = Index(heed::kernel::detail::kStreamBytes / sizeof(float)) / channels / 16 * 16 + 16;
  const auto x = random_tensor<float, 2>({channels, positions}, 1), factor = random_tensor<float, 2>({channels, 1}, 2);
  const View<const float, 2> factors = View<const float, 2>(factor).broadcast({channels, positions}, "test", "factor");
  Tensor<float, 2> out(channels, positions), same = x;
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  heed::kernel::elementwise<Write::kAssign, float>(device, multiply, View<float, 2>(out), View<const float, 2>(x),
                                                   factors);
  heed::kernel::elementwise<Write::kAssign, float>(device, multiply, View<float, 2>(same), View<const float, 2>(same),
                                                   factors);
  bool equal = true;
  for (Index c = 0; c < channels; ++c)
    for (Index i = 0; i < positions; ++i)
      equal = equal && out(c, i) == x(c, i) * factor(c, 0) && same(c, i) == out(c, i);
  CHECK(equal);
}
