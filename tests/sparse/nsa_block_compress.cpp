// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/nsa_block_compress.hpp"

#include "catch.hpp"
#include "heed/sparse/nsa_selection_scores.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("nsa_block_compress makes one row of each window, none of too few tokens") {
  NsaBlockCompress<float> compress{{.block_size = 4, .stride = 3}};
  compress.position = random_tensor<float, 3>({2, 4, 3}, 1);
  compress.hidden = random_tensor<float, 3>({2, 12, 5}, 2);
  compress.hidden_bias = random_tensor<float, 2>({2, 5}, 3);
  compress.out = random_tensor<float, 3>({2, 5, 3}, 4);
  compress.out_bias = random_tensor<float, 2>({2, 3}, 5);
  const auto x = random_tensor<float, 4>({2, 2, 11, 3}, 6);
  const auto out = compress(x);
  REQUIRE(const_view(out).sizes == std::array<Index, 4>{2, 2, 3, 3});
  double want = compress.out_bias(1, 2);
  for (Index f = 0; f < 5; ++f) {
    double hidden = compress.hidden_bias(1, f);
    for (Index l = 0; l < 4; ++l)
      for (Index d = 0; d < 3; ++d)
        hidden += double(x(1, 1, 6 + l, d) + compress.position(1, l, d)) * double(compress.hidden(1, l * 3 + d, f));
    want += std::max(0.0, hidden) * double(compress.out(1, f, 2));
  }
  CHECK(std::abs(out(1, 1, 2, 2) - want) < 1e-5);
  CHECK(compress(random_tensor<float, 4>({1, 2, 3, 3}, 7)).dimension(2) == 0);
  CHECK_THROWS_AS(compress(random_tensor<float, 4>({1, 3, 8, 3}, 7)), Error);
}

TEST_CASE("nsa_selection_scores: a compressed block counts once for each piece that it shares") {
  const NsaSelectionScores score{
      {.block_size = 4, .stride = 2, .select_block_size = 8, .group_size = 2, .num_select_blocks = 2}};
  Tensor<float, 4> x(1, 2, 1, 7);
  x.setZero();
  x(0, 0, 0, 3) = 1;  // tokens 6 .. 9: a piece in either block
  x(0, 1, 0, 0) = 2;  // tokens 0 .. 3: both pieces in block 0
  const auto out = score(x);
  REQUIRE(const_view(out).sizes == std::array<Index, 4>{1, 1, 1, 2});
  CHECK(out(0, 0, 0, 0) == 5);
  CHECK(out(0, 0, 0, 1) == 1);
  CHECK_THROWS_AS((NsaSelectionScores{{.block_size = 3, .stride = 2}}(x)), Error);
}
