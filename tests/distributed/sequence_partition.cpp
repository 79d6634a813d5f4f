// SPDX-License-Identifier: Apache-2.0
#include "heed/distributed/sequence_partition.hpp"

#include <vector>

#include "catch.hpp"

using heed::Index;
using heed::SequenceLayout;

namespace {

std::vector<int> tokens_of(const heed::SequencePartition& partition, Index rank) {
  std::vector<int> tokens;
  for (Index slot = 0; slot < partition.index.dimension(1); ++slot) tokens.push_back(partition.index(rank, slot));
  return tokens;
}

}  // namespace

TEST_CASE("Every token has one slot, whatever the layout") {
  const std::vector<Index> lengths{16, 1, 0, 17, 3};
  for (const auto layout : {SequenceLayout::kZigzag, SequenceLayout::kContiguous, SequenceLayout::kStriped})
    for (const Index world : {1, 2, 3, 8}) {
      const auto partition = heed::sequence_partition(world, lengths, layout);
      const Index slots = partition.index.dimension(1);
      REQUIRE(partition.inverse.size() == 37);
      for (Index token = 0; token < 37; ++token) {
        const Index place = partition.inverse(token);
        CHECK(partition.index(place / slots, place % slots) == token);
      }
      Index filled = 0;
      for (Index i = 0; i < partition.index.size(); ++i) filled += partition.index.data()[i] >= 0;
      CHECK(filled == 37);
    }
}

TEST_CASE("Tokens come before padding") {
  const std::vector<Index> five{5};
  using V = std::vector<int>;
  const auto zigzag = heed::sequence_partition(2, five, SequenceLayout::kZigzag);
  CHECK(tokens_of(zigzag, 0) == V{0, 1, -1, -1});
  CHECK(tokens_of(zigzag, 1) == V{2, 3, 4, -1});
  const auto contiguous = heed::sequence_partition(2, five, SequenceLayout::kContiguous);
  CHECK(tokens_of(contiguous, 0) == V{0, 1, 2});
  CHECK(tokens_of(contiguous, 1) == V{3, 4, -1});
  const auto striped = heed::sequence_partition(2, five, SequenceLayout::kStriped);
  CHECK(tokens_of(striped, 0) == V{0, 2, 4});
  CHECK(tokens_of(striped, 1) == V{1, 3, -1});
}

TEST_CASE("Partitions that do not exist") {
  const std::vector<Index> negative{4, -1}, huge{Index(1) << 31};
  CHECK_THROWS_AS(heed::sequence_partition(0, negative), heed::Error);
  CHECK_THROWS_AS(heed::sequence_partition(2, negative), heed::Error);
  CHECK_THROWS_AS(heed::sequence_partition(2, huge), heed::Error);
}
