// SPDX-License-Identifier: Apache-2.0
#include "heed/self/rotary_position_embedding.hpp"

#include <cmath>

#include "catch.hpp"
#include "support/allocations.hpp"

using heed::Index;
using heed::RotaryPositionEmbedding;
using heed::Tensor;
using heed::test::contains;

TEST_CASE("All ways to call it rotate alike") {
  Tensor<float, 4> x(2, 3, 5, 8);
  x.setRandom();
  Tensor<std::int32_t, 2> positions(2, 5);
  positions.setValues({{0, 1, 2, 7, 4}, {9, 9, 3, 0, 1}});
  const RotaryPositionEmbedding rope{{.base = 500}};
  const auto want = rope(x, positions);
  const auto same = [&](const auto& got) { return std::equal(want.data(), want.data() + want.size(), got.data()); };
  CHECK(std::abs(want(0, 1, 3, 0) - float(x(0, 1, 3, 0) * std::cos(7.0) - x(0, 1, 3, 4) * std::sin(7.0))) < 1e-6F);
  Tensor<float, 4> out(2, 3, 5, 8), in_place = x;
  rope(x, positions, heed::into(out));
  CHECK(same(out));
  const Eigen::DefaultDevice device;
  rope(device, in_place, positions, heed::into(in_place));
  CHECK(same(in_place));
  in_place = x;
  rope(device, in_place, positions, rope.table<float>(8, 10), heed::into(in_place));
  CHECK(same(in_place));
  Eigen::ThreadPool pool(2);
  CHECK(same(rope(Eigen::ThreadPoolDevice(&pool, 2), x, positions)));
}

TEST_CASE("One row of positions serves all batches, and lower ranks have one") {
  Tensor<float, 4> x(2, 3, 5, 8);
  x.setRandom();
  Tensor<std::int32_t, 1> positions(5);
  positions.setValues({3, 1, 4, 1, 5});
  const RotaryPositionEmbedding rope{{.interleaved = true}};
  const auto want = rope(x, positions);
  const Tensor<float, 3> one = x.chip(1, 0);
  const auto got = rope(one, positions);
  const Tensor<float, 2> head = one.chip(2, 0);
  const auto row = rope(head, positions);
  for (Index h = 0; h < 3; ++h)
    for (Index n = 0; n < 5; ++n)
      for (Index d = 0; d < 8; ++d) {
        CHECK(got(h, n, d) == want(1, h, n, d));
        if (h == 2) CHECK(row(n, d) == want(1, 2, n, d));
      }
}

TEST_CASE("It does not allocate after the first call of a shape") {
  Tensor<float, 4> x(1, 4, 50, 32);
  x.setRandom();
  Tensor<std::int32_t, 1> positions(50);
  for (int i = 0; i < 50; ++i) positions(i) = 3 * i;
  const RotaryPositionEmbedding rope;
  for (int i = 0; i < 2; ++i) rope(x, positions, heed::into(x));
  const std::size_t before = heed::test::allocation_count();
  rope(x, positions, heed::into(x));
  CHECK(heed::test::allocation_count() == before);
}

TEST_CASE("Errors name the operator") {
  Tensor<float, 4> x(1, 1, 2, 8), out(1, 1, 2, 8);
  out.setConstant(3);
  Tensor<std::int32_t, 1> positions(2), three(3);
  positions.setZero();
  RotaryPositionEmbedding rope{{.rotary_dim = 5}};
  CHECK_THROWS_WITH(rope(x, positions, heed::into(out)),
                    contains("rotary_position_embedding: rotary_dim must be even and in 2 .. D = 8, got 5"));
  rope.options = {};
  CHECK_THROWS_WITH(rope(x, three),
                    contains("rotary_position_embedding: positions (B, N) must be broadcastable to (1, 2), "
                             "got (1, 3)"));
  CHECK(out(0, 0, 1, 7) == 3);
}
