// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "catch.hpp"
#include "support/cache_stream.hpp"

using heed::ContiguousCache;
using heed::Index;
using heed::Tensor;
using heed::test::contains;

namespace {

template <class T, class U>
double run(Index length, const std::vector<Index>& pieces, Index width = 5, Index value_width = 3,
           const std::vector<Index>& first = {0, 7}) {
  const heed_test::CacheStream<T, U> stream(length, width, value_width);
  ContiguousCache<U> cache(stream.batch, stream.kv_heads, length, width, value_width);
  const auto attention = heed::softmax_attention();
  return heed_test::run_stream(
      cache, stream, first, pieces,
      [&](const auto& q, const auto& k, const auto& v, auto& out) {
        heed::append_and_attend(attention, q, k, v, cache, heed::into(out));
      },
      heed_test::kAll, heed_test::kSame);
}

}  // namespace

TEST_CASE("Token by token and in pieces a contiguous cache gives attention over all tokens so far") {
  CHECK(run<float, float>(63, {1}) < 4e-6);
  CHECK(run<float, float>(500, {17, 1, 100}) < 4e-6);
  CHECK(run<float, float>(200, {3, 1, 1, 33}, 17, 20) < 4e-6);
  CHECK(run<float, float>(3000, {1, 3}, 5, 3, {2990, 1100}) < 4e-6);  // in several ranges of keys
  CHECK(run<double, double>(63, {1}) < 1e-13);
  CHECK(run<double, double>(150, {1, 40, 2}, 1, 1) < 1e-13);
}

TEST_CASE("16-bit storage costs the rounding of the keys and values and nothing else") {
  CHECK(run<float, heed::bfloat16>(63, {1}) < 4e-6);
  CHECK(run<float, heed::bfloat16>(150, {50, 1, 4}, 33, 18) < 4e-6);
  CHECK(run<float, heed::half>(63, {1}) < 4e-6);
  CHECK(run<float, heed::half>(150, {50, 1, 4}, 33, 18) < 4e-6);
}

TEST_CASE("A contiguous cache takes strided and 16-bit tokens") {
  Tensor<float, 4> packed(1, 2, 4, 3);  // (B, N, Hk, D)
  packed.setRandom();
  const auto strided = heed::const_view(packed).permute({0, 2, 1, 3});
  ContiguousCache<float> cache(1, 4, 2, 3, 3);
  cache.append(strided, strided);
  for (Index h = 0; h < 4; ++h)
    for (Index t = 0; t < 2; ++t)
      for (Index d = 0; d < 3; ++d) CHECK(cache.k(0, h, t, d) == packed(0, t, h, d));

  Tensor<heed::half, 4> half(1, 4, 1, 3);
  half.setConstant(heed::half(0.3F));
  ContiguousCache<heed::bfloat16> other(1, 4, 2, 3, 3);
  other.append(half, strided.slice(2, 0, 1));
  CHECK(float(other.k(0, 1, 0, 2)) == float(heed::bfloat16(float(heed::half(0.3F)))));
}

TEST_CASE("A contiguous cache refuses what does not fit and stays as it was") {
  const heed_test::CacheStream<float, float> stream(10);
  ContiguousCache<float> cache(2, 2, 8, 5, 3);
  heed_test::begin(cache, stream, {3, 7});
  const Tensor<float, 4> k_before = cache.k, v_before = cache.v;
  const auto k = stream.tokens(stream.k, {3, 7}, 2), v = stream.tokens(stream.v, {3, 7}, 2);
  CHECK_THROWS_WITH(cache.append(k, v),
                    contains("contiguous_cache: batch 1 has 7 tokens, and 2 more do not fit into the capacity of 8"));
  CHECK_THROWS_WITH(cache.append(v, v),
                    contains("contiguous_cache: k_new must have shape (B, Hk, N, D) = (2, 2, 2, 5), "
                             "got (2, 2, 2, 3)"));
  CHECK_THROWS_WITH(cache.append(k, k),
                    contains("v_new must have shape (B, Hk, N, Dv) = (2, 2, 2, 3), got (2, 2, 2, 5)"));
  CHECK(heed_test::holds(cache, stream, {3, 7}));
  CHECK(std::memcmp(k_before.data(), cache.k.data(), sizeof(float) * std::size_t(cache.k.size())) == 0);
  CHECK(std::memcmp(v_before.data(), cache.v.data(), sizeof(float) * std::size_t(cache.v.size())) == 0);

  cache.lengths(0) = -1;
  CHECK_THROWS_WITH(cache.check(), contains("contiguous_cache: lengths(0) is negative: -1"));
  cache.lengths(0) = 9;
  CHECK_THROWS_WITH(cache.check(), contains("contiguous_cache: lengths(0) = 9 is beyond the capacity of 8"));
  cache.lengths.resize(3);
  CHECK_THROWS_WITH(cache.check(), contains("contiguous_cache: lengths must have shape (B) = (2), got (3)"));
  cache.v.resize(2, 2, 7, 3);
  CHECK_THROWS_WITH(cache.check(), contains("contiguous_cache: k and v must agree on (B, Hk, S), got (2, 2, 8, 5) and "
                                            "(2, 2, 7, 3)"));
}

TEST_CASE("Nothing appended and no sequences are fine") {
  ContiguousCache<float> cache(2, 2, 4, 5, 3);
  cache.append(Tensor<float, 4>(2, 2, 0, 5), Tensor<float, 4>(2, 2, 0, 3));
  CHECK(cache.lengths(0) == 0);
  ContiguousCache<float> none(0, 2, 4, 5, 3);
  none.append(Tensor<float, 4>(0, 2, 3, 5), Tensor<float, 4>(0, 2, 3, 3));
}
