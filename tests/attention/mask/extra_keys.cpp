// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/extra_keys.hpp"

#include "catch.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Lanes;
using heed::Tensor;
using heed::test::random_mask;

TEST_CASE("with_extra_keys shows the keys behind the sequence to all, and the rule the sequence alone") {
  for (const Index own : {0, 1, 15, 16, 17, 70}) {
    const Index extra = 3, queries = 40;
    CAPTURE(own);
    const auto mask = random_mask<4>({2, 1, queries, own}, 1, 0.4);
    const heed::AttentionShape shape{2, 2, 1, queries, own + extra, 4, 4};
    const Index offset = own - queries;
    const auto rule = heed::with_extra_keys(heed::boolean_mask(mask) && heed::causal(), own);
    Tensor<std::uint8_t, 4> want(2, 2, queries, own + extra);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 2; ++h)
        for (Index i = 0; i < queries; ++i)
          for (Index j = 0; j < own + extra; ++j) want(b, h, i, j) = j >= own || (mask(b, 0, i, j) && j <= i + offset);
    const auto same = [&](const Tensor<std::uint8_t, 4>& got) {
      return std::equal(got.data(), got.data() + got.size(), want.data());
    };
    CHECK(same(heed::dense_mask(rule, shape, offset)));
    // Along the queries only the rule's own keys have planes to be filled, so this one goes without.
    const auto plain = heed::with_extra_keys(heed::causal(), own);
    const auto along_keys = heed::test::dense_test<float, Lanes::kKeys>(plain, shape, offset);
    const auto along_queries = heed::test::dense_test<double, Lanes::kQueries>(plain, shape, offset);
    CHECK(std::equal(along_keys.data(), along_keys.data() + along_keys.size(), along_queries.data()));
    CHECK(same(heed::test::dense_test<double, Lanes::kKeys>(rule, shape, offset)));
  }
}

TEST_CASE("Attention with extra keys under a mask") {
  const Index N = 70, own = 90;
  const auto q = heed::test::random_tensor<float, 4>({1, 2, N, 8}, 1);
  const auto k = heed::test::random_tensor<float, 4>({1, 2, own + 2, 8}, 2);
  const auto v = heed::test::random_tensor<float, 4>({1, 2, own + 2, 8}, 3);
  const auto mask = random_mask<4>({1, 1, N, own}, 4, 0.2);
  heed::test::NaiveAttention naive;
  naive.visible = [&](Index, Index, Index i, Index j) { return j >= own || mask(0, 0, i, j) != 0; };
  const auto out = heed::softmax_attention(heed::with_extra_keys(heed::boolean_mask(mask), own))(q, k, v);
  CHECK(heed::test::error_of(out, naive(q, k, v).out) < 1e-5);
}

TEST_CASE("with_extra_keys: more keys than there are") {
  const Tensor<float, 2> x(3, 4);
  CHECK_THROWS_WITH(heed::softmax_attention(heed::with_extra_keys(heed::causal(), 4))(x, x, x),
                    "with_extra_keys: of M = 3 keys, 4 cannot be the sequence's own");
}
