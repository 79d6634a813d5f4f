// SPDX-License-Identifier: Apache-2.0
#include "heed/self/landmark_retrieval_attention.hpp"

#include "catch.hpp"
#include "heed/self/landmark_attention.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("landmark_retrieval_attention: all blocks retrieved are landmark attention over the whole sequence") {
  const auto q = random_tensor<double, 4>({2, 2, 14, 4}, 1), k = random_tensor<double, 4>({2, 2, 14, 4}, 2);
  const auto v = random_tensor<double, 4>({2, 2, 14, 3}, 3);
  Tensor<std::uint8_t, 2> marks(2, 14), section(2, 6);
  marks.setZero();
  section.setZero();
  for (Index b = 0; b < 2; ++b) marks(b, 3) = marks(b, 7) = marks(b, 11) = section(b, 3) = 1;
  const auto want = heed::LandmarkAttention()(q, k, v, marks);
  Tensor<double, 5> block_k(2, 2, 2, 4, 4), block_v(2, 2, 2, 4, 3);
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 2; ++h)
      for (Index j = 0; j < 8; ++j) {
        for (Index d = 0; d < 4; ++d) block_k(b, h, j / 4, j % 4, d) = k(b, h, j, d);
        for (Index d = 0; d < 3; ++d) block_v(b, h, j / 4, j % 4, d) = v(b, h, j, d);
      }
  const auto last = [](const auto& x, Index count) { return heed::view(x).slice(2, 14 - count, count); };
  for (const auto selection : {heed::BlockSelection::kPerTokenAndHead, heed::BlockSelection::kMaxOverHeads,
                               heed::BlockSelection::kMaxOverTokens})
    for (const Index queries : {6, 2}) {
      const heed::LandmarkRetrievalAttention attend{{.top_k = 5, .selection = selection}};
      const auto out = attend(last(q, queries), last(k, 6), last(v, 6), section, block_k, block_v);
      CHECK(error_of(out, last(want, queries)) < 1e-13);
    }
  // Without blocks, the section alone, rotated or not.
  Tensor<double, 5> none_k(2, 2, 0, 4, 4), none_v(2, 2, 0, 4, 3);
  const auto alone = heed::LandmarkAttention()(last(q, 6), last(k, 6), last(v, 6), section);
  CHECK(error_of(heed::LandmarkRetrievalAttention()(last(q, 6), last(k, 6), last(v, 6), section, none_k, none_v),
                 alone) < 1e-13);
}

TEST_CASE("landmark_retrieval_attention: selections share their blocks, others are not read") {
  const auto q = random_tensor<float, 4>({1, 2, 3, 4}, 1), k = random_tensor<float, 4>({1, 2, 3, 4}, 2);
  const auto block_k = random_tensor<float, 5>({1, 2, 5, 3, 4}, 3);
  auto block_v = random_tensor<float, 5>({1, 2, 5, 3, 4}, 4);
  Tensor<std::uint8_t, 2> marks(1, 3);
  marks.setZero();
  for (const double base : {0.0, 1e4}) {
    const heed::LandmarkRetrievalAttention attend{
        {.top_k = 2, .selection = heed::BlockSelection::kMaxOverTokens, .rope_base = base}};
    const auto want = attend(q, k, k, marks, block_k, block_v);
    // All queries of a head read the same two blocks: NaN in the values of another one is not seen.
    int unread = 0;
    for (Index block = 0; block < 5; ++block) {
      auto poisoned = block_v;
      for (Index h = 0; h < 2; ++h) poisoned(0, h, block, 0, 0) = float(heed::test::kNaN);
      const auto got = attend(q, k, k, marks, block_k, poisoned);
      bool seen = false;
      for (Index i = 0; i < 3; ++i) seen |= std::isnan(got(0, 0, i, 0));
      for (Index i = 0; i < 3; ++i) CHECK(std::isnan(got(0, 0, i, 0)) == seen);
      unread += !seen;
    }
    CHECK(unread == 3);
  }
  heed::LandmarkRetrievalAttention attend{{.top_k = -1}};
  CHECK_THROWS_WITH(attend(q, k, k, marks, block_k, block_v),
                    "landmark_retrieval_attention: top_k must be 0 or more, got -1");
}
