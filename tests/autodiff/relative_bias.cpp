// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/relative_bias.hpp"

#include "heed/self/relative_position_bias.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::RelativePositionBias;
using heed::Tape;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("Gradients of relative position biases") {
  RelativePositionBias<double> relative{{.num_buckets = 8, .max_distance = 20}, random_tensor<double, 2>({8, 3}, 1)};
  for (const bool bidirectional : {true, false}) {
    relative.options.bidirectional = bidirectional;
    check_gradients([&](auto& tape) { return relative(tape, 5, 17, 2); }, relative);
    check_gradients([&](auto& tape) { return relative(tape, 1, 1); }, relative);
  }
}

TEST_CASE("Gradients of relative position biases sum many diagonals") {
  const Index n = 300, m = 170;
  const RelativePositionBias<float> relative{{.num_buckets = 8, .max_distance = 20},
                                             random_tensor<float, 2>({8, 2}, 1)};
  const auto c = random_tensor<float, 3>({2, n, m}, 2);
  Tape<float> tape;
  const heed::Var bias = relative(tape, n, m);
  CHECK(error_of(bias.value(), relative(n, m)) == 0);
  tape.backward(bias, c);
  const auto buckets = relative.buckets(n, m);
  Tensor<double, 2> want(8, 2);
  want.setZero();
  for (Index h = 0; h < 2; ++h)
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < m; ++j) want(buckets(i, j), h) += double(c(h, i, j));
  CHECK(error_of(tape.grad(relative.table), want) < 1e-6);
}

TEST_CASE("relative_bias refuses buckets that do not fit") {
  const Tensor<double, 2> table(3, 2);
  const std::int32_t buckets[] = {0, 1, 3};
  const heed::View<const std::int32_t, 1> row(buckets, {3});
  Tape<double> tape;
  CHECK_THROWS_WITH(heed::relative_bias(Eigen::DefaultDevice(), tape.input(table), row, 2, 2),
                    "relative_bias: bucket 3 is outside of the table's 0 .. 2");
  CHECK_THROWS_WITH(heed::relative_bias(Eigen::DefaultDevice(), table, row, 3, 2),
                    "relative_bias: buckets must have shape (N + M - 1) = (4), got (3)");
}
