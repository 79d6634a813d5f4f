// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/clip_memory_tokens.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("clip_memory_tokens: frames, then slots by frame and cell, then the mean of all") {
  heed::ClipMemoryTokens<double> tokens{{.grid = 2}};
  tokens.mlp = fresh_mlp(3, 4, 5);
  const auto x = fresh<5>({2, 3, 4, 4, 5});
  const auto got = tokens(x);
  REQUIRE(got.dimension(1) == 3 * 16 + 3 * 4 + 1);
  Tensor<double, 3> chosen(2, 2, 5);
  chosen.setZero();
  for (Index b = 0; b < 2; ++b)
    for (Index c = 0; c < 5; ++c)
      for (Index t = 0; t < 3; ++t)
        for (Index i = 0; i < 4; ++i)
          for (Index j = 0; j < 4; ++j) {
            if (t == 1 && i >= 2 && j < 2) chosen(b, 0, c) += x(b, t, i, j, c) / 4;  // slot 2 of frame 1
            chosen(b, 1, c) += x(b, t, i, j, c) / 48;
          }
  const auto want = tokens.mlp(heed::DeviceRef(), heed::Gelu(), chosen);
  for (Index b = 0; b < 2; ++b)
    for (Index o = 0; o < 3; ++o) {
      CHECK(got(b, 48 + 4 + 2, o) == Approx(want(b, 0, o)));
      CHECK(got(b, 60, o) == Approx(want(b, 1, o)));
    }
  tokens.options.grid = 3;
  CHECK_THROWS_WITH(tokens(x), "clip_memory_tokens: grid = 3 must divide h = 4");
}
