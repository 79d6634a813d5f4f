// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/linear.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Linear;
using heed::Tape;
using heed::Tensor;
using heed::Var;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
Linear<T> random_layer(Index out, Index in) {
  return {random_tensor<T, 2>({out, in}, 1), random_tensor<T, 1>({out}, 2)};
}

}  // namespace

TEST_CASE("Gradients of linear") {
  auto layer = random_layer<double>(5, 7);
  const auto apply = [&](auto&, const auto& x) { return layer(x); };
  SECTION("rank 1") {
    auto x = random_tensor<double, 1>({7}, 3);
    check_gradients(apply, x, layer);
  }
  SECTION("few and many rows") {
    for (const Index rows : {1, 3, 17, 70}) {
      CAPTURE(rows);
      auto x = random_tensor<double, 2>({rows, 7}, 3);
      check_gradients(apply, x, layer);
    }
  }
  SECTION("a batch") {
    auto x = random_tensor<double, 4>({2, 1, 3, 7}, 3);
    check_gradients(apply, x, layer);
  }
  SECTION("rows that do not lie evenly, transposed channels") {
    auto x = random_tensor<double, 3>({2, 7, 5}, 3);
    check_gradients([&](auto&, const auto& all) { return layer(all.slice(2, 1, 3).permute({0, 2, 1})); }, x, layer);
  }
  SECTION("no bias, odd sizes") {
    layer = random_layer<double>(17, 63);
    layer.bias = {};
    auto x = random_tensor<double, 2>({3, 63}, 3);
    check_gradients(apply, x, layer);
  }
  SECTION("a weight that is a variable") {
    auto x = random_tensor<double, 2>({3, 7}, 3);
    check_gradients([](auto&, const auto& v, const auto& w, const auto& b) { return linear(v, w, b); }, x, layer.weight,
                    layer.bias);
  }
}

TEST_CASE("Recorded values are the tensors' bits, gradients of float are those of double") {
  const auto layer = random_layer<float>(70, 130);
  const auto x = random_tensor<float, 3>({2, 81, 130}, 3), c = random_tensor<float, 3>({2, 81, 70}, 4);
  Tape<float> tape;
  const Var y = layer(tape.input(x));
  CHECK(error_of(y.value(), layer(x)) == 0);
  tape.backward(y, c);

  const Linear<double> exact{layer.weight.cast<double>(), layer.bias.cast<double>()};
  const Tensor<double, 3> xd = x.cast<double>(), cd = c.cast<double>();
  Tape<double> twin;
  twin.backward(exact(twin.input(xd)), cd);
  CHECK(error_of(tape.grad(x), twin.grad(xd)) < 1e-6);
  CHECK(error_of(tape.grad(layer.weight), twin.grad(exact.weight)) < 2e-6);
  CHECK(error_of(tape.grad(layer.bias), twin.grad(exact.bias)) < 2e-6);
}

TEST_CASE("A recorded linear refuses what linear refuses") {
  const auto layer = random_layer<double>(4, 3);
  const Tensor<double, 2> x(5, 2);
  Tape<double> tape;
  CHECK_THROWS_WITH(layer(tape.input(x)),
                    "linear: weight must have shape (out, in) with in = 2, the last axis of x, got (4, 3)");
}
