// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/elementwise.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tape;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of add, subtract, multiply and scale") {
  auto a = random_tensor<double, 3>({2, 3, 17}, 1), b = random_tensor<double, 3>({2, 3, 17}, 2);
  check_gradients(
      [](auto&, const auto& x, const auto& y) {
        return std::make_tuple(heed::add(x, y), heed::subtract(x, heed::multiply(x, y)), heed::scale(y, -0.5));
      },
      a, b);
}

TEST_CASE("Gradients of operands that are broadcast are summed") {
  const auto both = [](auto&, const auto& x, const auto& y) {
    return std::make_tuple(heed::multiply(x, y), heed::subtract(y, x));
  };
  auto a = random_tensor<double, 3>({3, 5, 7}, 1);
  SECTION("over rows, by a shorter shape") {
    auto b = random_tensor<double, 1>({7}, 2);
    check_gradients(both, a, b);
  }
  SECTION("over columns") {
    auto b = random_tensor<double, 3>({3, 5, 1}, 2);
    check_gradients(both, a, b);
  }
  SECTION("over an axis between") {
    auto b = random_tensor<double, 3>({3, 1, 7}, 2);
    check_gradients(both, a, b);
  }
  SECTION("over all") {
    auto b = random_tensor<double, 1>({1}, 2);
    check_gradients(both, a, b);
  }
  SECTION("each over another") {
    auto c = random_tensor<double, 3>({1, 5, 1}, 3);
    auto b = random_tensor<double, 2>({1, 7}, 2);
    check_gradients(both, c, b);
  }
  SECTION("transposed") {
    auto b = random_tensor<double, 3>({7, 5, 1}, 2);
    check_gradients(
        [&](auto& tape, const auto& x, const auto& y) {
          return both(tape, x, y.permute({2, 1, 0}));
        },
        a, b);
  }
}

TEST_CASE("Empty variables") {
  const heed::Tensor<double, 2> none(0, 3), row = random_tensor<double, 2>({1, 3}, 1);
  Tape<double> tape;
  const heed::Var y = heed::multiply(tape.input(none), row);
  CHECK(y.sizes() == std::array<Index, 2>{0, 3});
  tape.backward(y, none);
  CHECK(tape.grad(row)(0, 2) == 0);
}
