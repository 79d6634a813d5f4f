// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/dense.hpp"

#include "catch.hpp"
#include "heed/attention/mask/standard.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

// That it agrees with every rule is part of check_rule.

TEST_CASE("dense_mask writes every element, keys beyond a length too, at any stride") {
  Tensor<std::int32_t, 1> lengths(2);
  lengths.setValues({3, 7});
  Tensor<std::uint8_t, 4> memory(2, 9, 2, 5);
  memory.setConstant(77);
  const AttentionShape shape{.batch = 2, .heads = 2, .kv_heads = 1, .queries = 5, .keys = 9};
  dense_mask(key_lengths(lengths) && causal(), shape, view(memory).permute({0, 2, 3, 1}));
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < 5; ++i)
        for (Index j = 0; j < 9; ++j)
          REQUIRE(memory(b, j, h, i) == (j < lengths(b) && j <= i + lengths(b) - 5 ? 1 : 0));
}

TEST_CASE("dense_mask: empty sizes and a given offset") {
  CHECK(dense_mask(causal(), {.batch = 1, .heads = 2, .kv_heads = 2, .queries = 0, .keys = 4}).size() == 0);
  CHECK(dense_mask(causal(), {.batch = 1, .heads = 2, .kv_heads = 2, .queries = 4, .keys = 0}).size() == 0);
  const auto mask = dense_mask(causal(), {.batch = 1, .heads = 1, .kv_heads = 1, .queries = 1, .keys = 40}, 20);
  for (Index j = 0; j < 40; ++j) REQUIRE(mask(0, 0, 0, j) == (j <= 20 ? 1 : 0));
}

TEST_CASE("dense_mask names what does not fit") {
  Tensor<std::uint8_t, 4> mask(1, 1, 2, 3);
  CHECK_THROWS_WITH(dense_mask(causal(), {.batch = 1, .heads = 1, .kv_heads = 1, .queries = 3, .keys = 3}, view(mask)),
                    "dense_mask: the mask must have shape (1, 1, 3, 3), got (1, 1, 2, 3)");
  CHECK_THROWS_WITH(dense_mask(causal(), {.batch = 1, .heads = 3, .kv_heads = 2, .queries = 3, .keys = 3}),
                    "dense_mask: the number of heads 3 must be a multiple of the number of key/value heads 2");
}
