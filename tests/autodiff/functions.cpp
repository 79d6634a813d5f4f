// SPDX-License-Identifier: Apache-2.0
#include "heed/block/functions.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of log, inverse square root, sine, ELU, floors and tests for a value") {
  auto x = random_tensor<double, 2>({3, 7}, 1);
  auto y = x;
  for (heed::Index i = 0; i < y.size(); ++i) y.data()[i] = std::abs(y.data()[i]) + 0.3;
  using heed::activate;
  check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(activate(heed::Log(), v), activate(heed::InverseSqrt{0.5}, v),
                               activate(heed::AtLeast{0.7}, v));
      },
      y);
  check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(activate(heed::ZeroWhere{9}, v), activate(heed::Differs{9}, v),
                               activate(heed::Sine(), v), activate(heed::Cosine(), v), activate(heed::Elu(), v));
      },
      x);
}

TEST_CASE("Values of log, inverse square root, sine, ELU, floors and tests for a value") {
  Tensor<float, 1> x(3);
  x.setValues({4, 2, 0.25});
  CHECK(double(heed::activate(heed::Log(), x)(0)) == Approx(std::log(4.0)));
  CHECK(double(heed::activate(heed::InverseSqrt{5}, x)(0)) == Approx(1 / 3.0));
  CHECK(heed::activate(heed::AtLeast{1}, x)(2) == 1);
  CHECK(heed::activate(heed::ZeroWhere{2}, x)(1) == 0);
  CHECK(heed::activate(heed::ZeroWhere{2}, x)(2) == 0.25f);
  CHECK(heed::activate(heed::Differs{2}, x)(1) == 0);
  CHECK(heed::activate(heed::Differs{2}, x)(0) == 1);
  CHECK(double(heed::activate(heed::Sine(), x)(1)) == Approx(std::sin(2.0)));
  CHECK(double(heed::activate(heed::Cosine(), x)(0)) == Approx(std::cos(4.0)));
  x.setValues({-4, 2, -200});
  CHECK(double(heed::activate(heed::Elu(), x)(0)) == Approx(std::expm1(-4.0)));
  CHECK(heed::activate(heed::Elu(), x)(1) == 2);
  CHECK(heed::activate(heed::Elu(), x)(2) == -1);
}

TEST_CASE("Gradients of quotients") {
  auto a = random_tensor<double, 2>({3, 5}, 1), b = random_tensor<double, 2>({3, 1}, 2);
  for (heed::Index i = 0; i < 3; ++i) b(i, 0) = 1.5 + std::abs(b(i, 0));
  check_gradients([](auto&, const auto& u, const auto& v) { return heed::divide(u, v); }, a, b);
}
