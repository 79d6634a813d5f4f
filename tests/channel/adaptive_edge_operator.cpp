// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/adaptive_edge_operator.hpp"

#include "heed/autodiff/gather.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("adaptive_edge_operator blends each image with its edges") {
  heed::AdaptiveEdgeOperator<double> op;
  op.blend = fill<1>({1});
  op.alpha = fill<1>({1});
  op.scale = fill<1>({1});
  auto x = random_tensor<double, 4>({3, 2, 4, 5}, 1);
  Tensor<std::int32_t, 1> choice(3);
  choice.setValues({2, 0, 1});
  heed::test::GradientCheck check;
  check.tolerance = 1e-5;
  check([&](auto&, const auto& v) { return op(v, choice); }, x, op);
  choice(1) = 3;
  CHECK_THROWS_AS(op(x, choice), heed::Error);
  CHECK(op(Tensor<double, 4>(0, 2, 4, 5), Tensor<std::int32_t, 1>(0)).size() == 0);
  choice(1) = 2;
  op.alpha = op.scale = {};
  CHECK_THROWS_AS(op(x, choice), heed::Error);
}

TEST_CASE("adaptive_edge_operator of a ramp, of gray and of a constant") {
  heed::AdaptiveEdgeOperator<double> op{{.gray = true}};
  op.blend.resize(1);
  op.blend.setConstant(1);
  Tensor<double, 4> x(2, 3, 5, 5);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = double(i % 5);  // 1 from column to column
  Tensor<std::int32_t, 1> choice(2);
  choice.setValues({0, 1});
  const Tensor<double, 4> y = op(x, choice);
  CHECK(y(0, 2, 2, 2) == Approx(8));
  CHECK(y(1, 0, 2, 2) == Approx(32));
  x.setConstant(7);
  CHECK(op(x, choice)(0, 1, 2, 2) == Approx(1e-4));
  CHECK_THROWS_AS(op(Tensor<double, 4>(2, 4, 5, 5), choice), heed::Error);
}
