// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/pointwise.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Real;
using heed::Tensor;
using heed::simd::Batch;
using heed::test::check_gradients;
using heed::test::random_tensor;

namespace {

// a * b + factor * c
struct MultiplyAdd {
  static constexpr std::string_view kName = "multiply_add";
  double factor = 1;
  template <Real T>
  Batch<T> value(Batch<T> a, Batch<T> b, Batch<T> c) const {
    return a * b + Batch<T>(T(factor)) * c;
  }
  template <int Operand, Real T>
  Batch<T> gradient(Batch<T> d, Batch<T> a, Batch<T> b, Batch<T>) const {
    if constexpr (Operand == 0) return d * b;
    if constexpr (Operand == 1) return d * a;
    if constexpr (Operand == 2) return d * Batch<T>(T(factor));
  }
};

}  // namespace

TEST_CASE("A function of three tensors that broadcast") {
  auto a = random_tensor<double, 4>({2, 3, 4, 5}, 1);
  auto b = random_tensor<double, 3>({3, 1, 1}, 2);
  auto c = random_tensor<double, 4>({2, 1, 4, 1}, 3);
  const MultiplyAdd f{0.5};
  const Tensor<double, 4> y = heed::pointwise(f, Eigen::DefaultDevice(), a, b, c);
  for (Index i = 0; i < 5; ++i) CHECK(y(1, 2, 3, i) == Approx(a(1, 2, 3, i) * b(2, 0, 0) + 0.5 * c(1, 0, 3, 0)));
  check_gradients([&](auto&, const auto& u, const auto& v,
                      const auto& w) { return heed::pointwise(f, heed::DeviceRef(), u, v, w); },
                  a, b, c);
  const auto total = heed::pointwise_sum(f, Eigen::DefaultDevice(), {1, 3}, a, b, c);
  const auto want = heed::sum(y, {1, 3});
  REQUIRE(heed::const_view(total).sizes == heed::const_view(want).sizes);
  for (Index i = 0; i < want.size(); ++i) CHECK(total.data()[i] == Approx(want.data()[i]));
  check_gradients(
      [&](auto&, const auto& u, const auto& v, const auto& w) {
        return heed::pointwise_sum(f, heed::DeviceRef(), {1, 3}, u, v, w);
      },
      a, b, c);
  CHECK_THROWS_AS(heed::pointwise(f, Eigen::DefaultDevice(), a, Tensor<double, 1>(4), c), heed::Error);
}
