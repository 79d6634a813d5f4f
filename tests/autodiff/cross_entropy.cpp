// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/cross_entropy.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

TEST_CASE("cross_entropy on a tape") {
  auto x = heed::test::random_tensor<double, 3>({2, 3, 17}, 1);
  heed::Tensor<std::int32_t, 2> targets(2, 3);
  targets.setValues({{0, 16, -1}, {4, 4, 9}});
  heed::test::check_gradients(
      [&](auto&, const auto& v) { return heed::cross_entropy(v, targets, {.ignore_index = -1}); }, x);
}

TEST_CASE("A loss needs no cotangent") {
  auto x = heed::test::random_tensor<float, 2>({3, 17}, 1);
  heed::Tensor<std::int32_t, 1> targets(3);
  targets.setValues({1, 2, 3});
  heed::Tape<float> tape;
  const heed::Var loss = heed::cross_entropy(tape.input(x), targets);
  tape.backward(loss);
  double sum = 0;
  for (heed::Index c = 0; c < 17; ++c) sum += double(tape.grad(x)(1, c));
  CHECK(std::abs(sum) < 1e-6);  // a softmax and a one-hot both sum to 1
  CHECK(tape.grad(x)(1, 2) < 0);
}
