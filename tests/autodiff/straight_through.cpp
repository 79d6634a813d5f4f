// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/straight_through.hpp"

#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/reduce.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("straight_through has the values of one tensor and the gradient of another") {
  const auto x = random_tensor<double, 3>({2, 3, 5}, 1), value = random_tensor<double, 3>({2, 3, 5}, 2);
  CHECK(error_of(heed::straight_through(x, value), value) == 0);
  heed::Tape<double> tape;
  const auto v = tape.input(x);
  const auto out = heed::straight_through(v, value);
  CHECK(error_of(Tensor<double, 3>(Eigen::TensorMap<const Tensor<double, 3>>(out.value().data, 2, 3, 5)), value) == 0);
  // The values do not move with x, so check_gradients has nothing to compare with: d sum(3 out) / d x is 3 everywhere.
  const auto loss = heed::sum(heed::scale(out, 3), {0, 1, 2});
  tape.backward(loss.reshape<1>({1}));
  const auto d = tape.grad(v);
  for (heed::Index i = 0; i < x.size(); ++i) CHECK(d.data[i] == 3);
  CHECK_THROWS_AS(heed::straight_through(x, random_tensor<double, 3>({2, 3, 4}, 2)), heed::Error);
}
