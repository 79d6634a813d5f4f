// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <numeric>

#include "catch.hpp"
#include "support/cache_stream.hpp"

using heed::Index;
using heed::PagedCache;
using heed::Tensor;
using heed::test::contains;

namespace {

// Pages assigned in random order, with some to spare; the last block of the table stays unassigned.
template <class U>
PagedCache<U> paged(Index length, Index page_size, Index width, Index value_width, unsigned seed) {
  const Index blocks = (length + page_size - 1) / page_size, pages = 2 * blocks + 3;
  PagedCache<U> cache(pages, 2, page_size, width, value_width, 2, blocks + 1);
  std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  for (Index b = 0; b < 2; ++b)
    for (Index block = 0; block < blocks; ++block)
      cache.block_table(b, block) = order[static_cast<std::size_t>(b * blocks + block)];
  return cache;
}

template <class T, class U>
double run(Index length, Index page_size, const std::vector<Index>& pieces, Index width = 5, Index value_width = 3,
           const std::vector<Index>& first = {0, 7}) {
  const heed_test::CacheStream<T, U> stream(length, width, value_width);
  auto cache = paged<U>(length, page_size, width, value_width, unsigned(page_size));
  const auto attention = heed::softmax_attention();
  return heed_test::run_stream(
      cache, stream, first, pieces,
      [&](const auto& q, const auto& k, const auto& v, auto& out) {
        heed::append_and_attend(attention, q, k, v, cache, heed::into(out));
      },
      heed_test::kAll, heed_test::kSame);
}

}  // namespace

TEST_CASE("Token by token and in pieces a paged cache gives attention over all tokens so far") {
  for (const Index page_size : {1, 3, 16, 64, 500}) {
    CHECK(run<float, float>(63, page_size, {1}) < 4e-6);
    CHECK(run<float, float>(300, page_size, {17, 1, 100}) < 4e-6);
  }
  CHECK(run<float, float>(3000, 100, {1, 3}, 5, 3, {2990, 1100}) < 4e-6);  // in several ranges of keys
  CHECK(run<float, float>(200, 17, {3, 1, 1, 33}, 17, 20) < 4e-6);
  CHECK(run<double, double>(150, 5, {1, 40, 2}, 1, 1) < 1e-13);
}

TEST_CASE("16-bit pages cost the rounding of the keys and values and nothing else") {
  CHECK(run<float, heed::bfloat16>(150, 16, {50, 1, 4}, 33, 18) < 4e-6);
  CHECK(run<float, heed::half>(150, 16, {50, 1, 4}, 33, 18) < 4e-6);
}

TEST_CASE("Sequences may share the pages of a common beginning") {
  heed_test::CacheStream<float, float> stream(20);
  for (auto* x : {&stream.k, &stream.v})
    for (Index h = 0; h < 2; ++h)
      for (Index z = 0; z < 8; ++z)
        for (Index d = 0; d < x->dimension(3); ++d) (*x)(1, h, z, d) = (*x)(0, h, z, d);
  auto cache = paged<float>(20, 4, 5, 3, 9);
  cache.block_table(1, 0) = cache.block_table(0, 0);
  cache.block_table(1, 1) = cache.block_table(0, 1);
  CHECK(heed_test::run_stream(
            cache, stream, {8, 9}, {1},
            [&](const auto& q, const auto& k, const auto& v, auto& out) {
              heed::append_and_attend(heed::softmax_attention(), q, k, v, cache, heed::into(out));
            },
            heed_test::kAll, heed_test::kSame) < 4e-6);
}

TEST_CASE("A paged cache refuses what does not fit and stays as it was") {
  const heed_test::CacheStream<float, float> stream(20);
  auto cache = paged<float>(9, 4, 5, 3, 9);
  heed_test::begin(cache, stream, {7, 9});
  const Tensor<float, 4> k_before = cache.k, v_before = cache.v;
  const auto tokens = [&](Index n) {
    return std::pair(stream.tokens(stream.k, {7, 9}, n), stream.tokens(stream.v, {7, 9}, n));
  };
  const auto [k, v] = tokens(4);
  CHECK_THROWS_WITH(cache.append(k, v),
                    contains("paged_cache: block_table(1, 3) = -1 is not assigned; the cache has pages 0 .. 8"));
  const auto [k_long, v_long] = tokens(8);
  cache.block_table(0, 3) = 7;
  cache.block_table(1, 3) = 8;
  CHECK_THROWS_WITH(cache.append(k_long, v_long),
                    contains("paged_cache: batch 1 needs 5 blocks for 17 tokens, the block_table has 4"));
  cache.block_table(1, 2) = 9;
  CHECK_THROWS_WITH(cache.append(k, v), contains("paged_cache: block_table(1, 2) = 9 is no page"));
  cache.block_table(1, 2) = cache.block_table(0, 1);
  CHECK_THROWS_WITH(cache.append(k, v), contains("would be written to for two blocks of the block_table"));
  CHECK_THROWS_WITH(cache.append(v, v), contains("paged_cache: k_new must have shape (B, Hk, N, D) = (2, 2, 4, 5)"));
  CHECK(cache.lengths(0) == 7);
  CHECK(cache.lengths(1) == 9);
  CHECK(std::memcmp(k_before.data(), cache.k.data(), sizeof(float) * std::size_t(cache.k.size())) == 0);
  CHECK(std::memcmp(v_before.data(), cache.v.data(), sizeof(float) * std::size_t(cache.v.size())) == 0);

  cache.lengths.resize(1);
  CHECK_THROWS_WITH(cache.check(), contains("paged_cache: lengths must have shape (B) = (2), got (1)"));
  cache.v.resize(9, 2, 3, 3);
  CHECK_THROWS_WITH(cache.check(), contains("paged_cache: k and v must agree on (pages, Hk, page_size)"));
  cache.k.resize(9, 2, 0, 5);
  cache.v.resize(9, 2, 0, 3);
  cache.lengths.resize(2);
  cache.lengths.setZero();
  CHECK_THROWS_WITH(cache.check(), contains("paged_cache: the page size must be 1 or more"));
}
