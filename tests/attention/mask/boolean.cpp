// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/boolean.hpp"

#include "catch.hpp"
#include "check_rule.hpp"
#include "heed/attention/mask/standard.hpp"

using namespace heed;
using namespace heed::test;

namespace {

// Blocks of 1s and 0s with a few flipped bits: granules of every kind.
Tensor<std::uint8_t, 4> patchy_mask(const std::array<Index, 4>& sizes, unsigned seed, Index patch) {
  const auto patches = random_mask<4>({sizes[0], sizes[1], sizes[2] / patch + 1, sizes[3] / patch + 1}, seed, 0.5);
  auto mask = random_mask<4>(sizes, seed + 1, 0.002);
  for (Index b = 0; b < sizes[0]; ++b)
    for (Index h = 0; h < sizes[1]; ++h)
      for (Index i = 0; i < sizes[2]; ++i)
        for (Index j = 0; j < sizes[3]; ++j)
          if (patches(b, h, i / patch, j / patch)) mask(b, h, i, j) = std::uint8_t(mask(b, h, i, j) ? 0 : 1 + j % 255);
  return mask;
}

Visible says(const View<const std::uint8_t, 4>& mask) {
  return [mask](Index b, Index h, Index i, Index j) {
    const auto at = [&](int axis, Index x) { return mask.size(axis) == 1 ? 0 : x; };
    return mask(at(0, b), at(1, h), at(2, i), at(3, j)) != 0;
  };
}

}  // namespace

TEST_CASE("boolean_mask: every broadcast, size and grain") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {63, 130}, {70, 63}, {130, 300}}) {
    const AttentionShape shape = rule_shape(n, m);
    for (const Index patch : {1, 16, 50}) {
      for (const unsigned full : {0u, 1u, 2u, 4u, 8u, 3u, 12u, 13u, 15u}) {
        const std::array<Index, 4> sizes{full & 1 ? 2 : 1, full & 2 ? 4 : 1, full & 4 ? n : 1, full & 8 ? m : 1};
        const auto mask = patchy_mask(sizes, unsigned(n) + full, patch);
        check_rule(AnyRule(boolean_mask(mask)), shape, says(mask));
      }
    }
  }
}

TEST_CASE("boolean_mask: lower ranks, bool, strides, compositions") {
  const Index n = 40, m = 77;
  const AttentionShape shape = rule_shape(n, m);
  const auto mask4 = patchy_mask({2, 4, n, m}, 5, 20);
  const View<const std::uint8_t, 4> all(mask4);

  check_rule(AnyRule(boolean_mask(all.select(0, 1))), shape,
             [&](Index, Index h, Index i, Index j) { return mask4(1, h, i, j) != 0; });
  check_rule(AnyRule(boolean_mask(all.select(0, 1).select(0, 2))), shape,
             [&](Index, Index, Index i, Index j) { return mask4(1, 2, i, j) != 0; });
  check_rule(AnyRule(!boolean_mask(mask4) && causal()), shape,
             [&](Index b, Index h, Index i, Index j) { return mask4(b, h, i, j) == 0 && j <= i + m - n; });
  check_rule(AnyRule(boolean_mask(mask4) || boolean_mask(all.select(0, 0))), shape,
             [&](Index b, Index h, Index i, Index j) { return mask4(b, h, i, j) != 0 || mask4(0, h, i, j) != 0; });

  const auto transposed = patchy_mask({2, 4, m, n}, 6, 20);
  check_rule(AnyRule(boolean_mask(View<const std::uint8_t, 4>(transposed).permute({0, 1, 3, 2}))), shape,
             [&](Index b, Index h, Index i, Index j) { return transposed(b, h, j, i) != 0; });

  Tensor<bool, 2> flags(n, m);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < m; ++j) flags(i, j) = (i * 7 + j * 3) % 5 < 2;
  check_rule(AnyRule(boolean_mask(flags)), shape, [&](Index, Index, Index i, Index j) { return flags(i, j); });
}

TEST_CASE("boolean_mask: whole granules are skipped") {
  const Index n = 128, m = 512;
  Tensor<std::uint8_t, 2> mask(n, m);
  mask.setZero();
  for (Index i = 0; i < n; ++i)
    for (Index j = 96; j < 320; ++j) mask(i, j) = 1;
  const Slack slack = check_rule(AnyRule(boolean_mask(mask)), rule_shape(n, m),
                                 [](Index, Index, Index, Index j) { return j / 32 >= 3 && j < 320; });
  CHECK(slack.some_but_none == 0);
  CHECK(slack.some_but_all == 0);
}

TEST_CASE("key_mask: random, padded, broadcast, strided") {
  for (const Index m : {1, 3, 17, 63, 130, 500}) {
    const AttentionShape shape = rule_shape(19, m);
    for (const double density : {0.0, 0.02, 0.5, 0.98, 1.0}) {
      const auto mask = random_mask<2>({2, m}, unsigned(m), density);
      check_rule(AnyRule(key_mask(mask)), shape, [&](Index b, Index, Index, Index j) { return mask(b, j) != 0; });
    }
    Tensor<std::uint8_t, 2> padded(m, 1);
    for (Index j = 0; j < m; ++j) padded(j, 0) = j < m - m / 3;
    const Slack slack = check_rule(AnyRule(key_mask(View<const std::uint8_t, 2>(padded).permute({1, 0}))), shape,
                                   [=](Index, Index, Index, Index j) { return j < m - m / 3; });
    if (m > 60) CHECK(slack.some_but_none + slack.some_but_all == 0);
    Tensor<std::uint8_t, 2> per_batch(2, 1);
    per_batch.setValues({{0}, {1}});
    check_rule(AnyRule(key_mask(per_batch) && causal()), shape,
               [=](Index b, Index, Index i, Index j) { return b == 1 && j <= i + m - 19; });
  }
}

TEST_CASE("boolean masks that do not fit are named") {
  const AttentionShape shape = rule_shape(5, 7);
  const Tensor<std::uint8_t, 2> wrong(5, 6), keys(3, 7);
  CHECK_THROWS_WITH(boolean_mask(wrong).check(shape),
                    "boolean_mask: the mask must be broadcastable to (2, 4, 5, 7), got (1, 1, 5, 6)");
  CHECK_THROWS_WITH(key_mask(keys).check(shape), "key_mask: the mask must be broadcastable to (2, 7), got (3, 7)");
}
