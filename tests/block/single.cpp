// SPDX-License-Identifier: Apache-2.0
#include "heed/block/single.hpp"

#include "catch.hpp"
#include "heed/autodiff/tape.hpp"

TEST_CASE("single: one element of any rank, a tensor or a variable, as one of rank 1") {
  heed::Tensor<float, 3> x(1, 1, 1);
  x(0, 0, 0) = 3;
  CHECK(heed::single(x)(0) == 3);
  heed::Tape<float> tape;
  const auto loss = heed::single(tape.input(x));
  CHECK(loss.value()(0) == 3);
  CHECK_THROWS_WITH(heed::single(heed::Tensor<float, 2>(1, 2)), "single: x must have one element, got shape (1, 2)");
  CHECK_THROWS_WITH(heed::single(heed::Tensor<float, 2>(1, 0)), "single: x must have one element, got shape (1, 0)");
}
