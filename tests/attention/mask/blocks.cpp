// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/blocks.hpp"

#include "catch.hpp"
#include "check_rule.hpp"

using namespace heed;
using namespace heed::test;

namespace {

// Lengths summing to `total` for each head, zeros among them.
Tensor<std::int32_t, 2> random_lengths(Index heads, Index blocks, Index total, unsigned seed) {
  std::mt19937 engine(seed);
  Tensor<std::int32_t, 2> lengths(heads, blocks);
  for (Index h = 0; h < heads; ++h) {
    std::vector<Index> cuts{0, total};
    while (Index(cuts.size()) < blocks + 1)
      cuts.push_back(engine() % 4 == 0 ? cuts.back() : Index(engine()) % (total + 1));
    std::sort(cuts.begin(), cuts.end());
    for (Index x = 0; x < blocks; ++x) lengths(h, x) = std::int32_t(cuts[std::size_t(x) + 1] - cuts[std::size_t(x)]);
  }
  return lengths;
}

Index block_of(const Tensor<std::int32_t, 2>& lengths, Index head, Index x) {
  Index block = 0;
  for (Index end = lengths(head, 0); end <= x; end += lengths(head, block)) ++block;
  return block;
}

}  // namespace

TEST_CASE("block_mask: equal blocks") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {17, 3}, {63, 130}, {70, 150}})
    for (const auto& [qb, kb] : {std::pair<Index, Index>{1, 1}, {4, 4}, {16, 64}, {7, 33}, {64, 16}, {500, 500}}) {
      const AttentionShape shape = rule_shape(n, m);
      const Index nq = (n + qb - 1) / qb, nk = (m + kb - 1) / kb;
      for (const unsigned full : {0u, 1u, 2u, 3u}) {
        const auto mask = random_mask<4>({full & 1 ? 2 : 1, full & 2 ? 4 : 1, nq, nk}, unsigned(n + kb), 0.4);
        const Slack slack = check_rule(AnyRule(block_mask(mask, qb, kb)), shape,
                                       [&, qb = qb, kb = kb](Index b, Index h, Index i, Index j) {
                                         return mask(full & 1 ? b : 0, full & 2 ? h : 0, i / qb, j / kb) != 0;
                                       });
        CHECK(slack.some_but_none == 0);
        CHECK(slack.some_but_all == 0);
      }
    }
}

TEST_CASE("block_mask: lengths per head") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {17, 3}, {63, 130}, {130, 300}})
    for (const auto& [nq, nk] : {std::pair<Index, Index>{1, 1}, {3, 5}, {12, 20}, {40, 2}}) {
      const AttentionShape shape = rule_shape(n, m);
      const auto q_lengths = random_lengths(4, nq, n, unsigned(nq)), k_lengths = random_lengths(2, nk, m, unsigned(nk));
      const auto mask = random_mask<3>({4, nq, nk}, unsigned(n), 0.4);
      const auto sees = [&](Index, Index h, Index i, Index j) {
        return mask(h, block_of(q_lengths, h, i), block_of(k_lengths, h / 2, j)) != 0;
      };
      const Slack slack = check_rule(AnyRule(block_mask(mask, q_lengths, k_lengths)), shape, sees);
      CHECK(slack.some_but_none == 0);
      CHECK(slack.some_but_all == 0);
      check_rule(AnyRule(block_mask(mask, q_lengths, k_lengths) && causal(0)), shape,
                 [&](Index b, Index h, Index i, Index j) { return sees(b, h, i, j) && j <= i; });
    }
}

TEST_CASE("block_mask: rank 2, bool, strides") {
  Tensor<bool, 2> mask(3, 2);
  mask.setValues({{true, false}, {false, false}, {true, true}});
  check_rule(AnyRule(block_mask(View<const bool, 2>(mask).permute({1, 0}), 10, 5)), rule_shape(20, 15),
             [&](Index, Index, Index i, Index j) { return mask(j / 5, i / 10); });
}

TEST_CASE("block masks that do not fit are named") {
  const AttentionShape shape = rule_shape(10, 12);
  const Tensor<std::uint8_t, 2> mask(3, 3);
  const Tensor<std::uint8_t, 3> heads(2, 3, 3);
  const Tensor<std::uint8_t, 4> batches(3, 1, 3, 3);
  CHECK_NOTHROW(block_mask(mask, 4, 4).check(shape));
  CHECK_THROWS_WITH(block_mask(mask, 0, 4), "block_mask: block sizes must be 1 or more and below 2^31, got 0 and 4");
  CHECK_THROWS_WITH(block_mask(mask, 5, 4).check(shape),
                    "block_mask: the block mask must have 2 blocks of 5 along the queries of length 10, got 3");
  CHECK_THROWS_WITH(block_mask(mask, 4, 6).check(shape),
                    "block_mask: the block mask must have 2 blocks of 6 along the keys of length 12, got 3");
  CHECK_THROWS_WITH(block_mask(heads, 4, 4).check(shape),
                    "block_mask: the block mask must have 1 or 4 heads, got shape (1, 2, 3, 3)");
  CHECK_THROWS_WITH(block_mask(batches, 4, 4).check(shape),
                    "block_mask: the block mask must have 1 or 2 batches, got shape (3, 1, 3, 3)");

  Tensor<std::int32_t, 2> q(4, 3), k(2, 3), negative(2, 3);
  q.setValues({{3, 3, 4}, {0, 10, 0}, {10, 0, 0}, {0, 0, 10}});
  k.setValues({{4, 4, 4}, {12, 0, 0}});
  negative.setValues({{4, 4, 4}, {13, -1, 0}});
  CHECK_NOTHROW(block_mask(mask, q, k).check(shape));
  CHECK_THROWS_WITH(block_mask(mask, q, negative), "block_mask: k_block_lengths must be 0 or more, got -1 at (1, 1)");
  CHECK_THROWS_WITH(block_mask(mask, k, k).check(shape),
                    "block_mask: the lengths of blocks along the queries must have shape (heads, blocks) = (4, 3), got "
                    "(2, 3)");
  CHECK_THROWS_WITH(block_mask(mask, q, k).check(rule_shape(10, 13)),
                    "block_mask: the lengths of blocks along the keys must sum to 13, got 12 for head 0");
}
