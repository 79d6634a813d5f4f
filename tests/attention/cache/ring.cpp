// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "catch.hpp"
#include "support/cache_stream.hpp"

using heed::Index;
using heed::RingCache;
using heed::Tensor;
using heed::test::contains;

namespace {

template <class T, class U>
double run(Index length, Index sinks, Index window, const std::vector<Index>& first, const std::vector<Index>& pieces,
           Index width = 5, Index value_width = 3) {
  const heed_test::CacheStream<T, U> stream(length, width, value_width);
  RingCache<U> cache(stream.batch, stream.kv_heads, width, value_width, {.sink_tokens = sinks, .window_size = window});
  const auto attention = heed::softmax_attention();
  return heed_test::run_stream(
      cache, stream, first, pieces,
      [&](const auto& q, const auto& k, const auto& v, auto& out) {
        heed::append_and_attend(attention, q, k, v, cache, heed::into(out));
      },
      [&](Index, Index, Index x, Index z) { return z < sinks || z > x - window; }, heed_test::kSame);
}

}  // namespace

TEST_CASE("Token by token a ring gives attention over the sinks and the window, however often it wraps") {
  CHECK(run<float, float>(200, 0, 7, {0, 0}, {1}) < 4e-6);
  CHECK(run<float, float>(200, 3, 7, {0, 5}, {1}) < 4e-6);
  CHECK(run<float, float>(60, 2, 1, {1, 30}, {1}) < 4e-6);
  CHECK(run<float, float>(4000, 4, 2500, {3980, 2490}, {1}) < 4e-6);  // in several ranges of keys
  CHECK(run<double, double>(150, 4, 33, {0, 100}, {1}) < 1e-13);
}

TEST_CASE("Many tokens at once evict nothing that one of them sees") {
  CHECK(run<float, float>(300, 3, 7, {0, 11}, {2, 1, 5, 40}) < 4e-6);
  CHECK(run<float, float>(300, 0, 100, {0, 3}, {130, 1}) < 4e-6);
  CHECK(run<float, float>(400, 5, 20, {2, 90}, {70, 3}, 17, 20) < 4e-6);
  CHECK(run<double, double>(200, 1, 9, {0, 44}, {3, 20}, 1, 1) < 1e-13);
}

TEST_CASE("A 16-bit ring reads tokens still to be written as they will be stored") {
  CHECK(run<float, heed::bfloat16>(150, 2, 17, {0, 31}, {1, 20, 3}) < 4e-6);
  CHECK(run<float, heed::half>(150, 2, 17, {0, 31}, {1, 20, 3}, 18, 33) < 4e-6);
}

TEST_CASE("A ring appends what stays") {
  const heed_test::CacheStream<float, float> stream(60);
  RingCache<float> cache(2, 2, 5, 3, {.sink_tokens = 3, .window_size = 4});
  heed_test::begin(cache, stream, {0, 1});
  std::vector<Index> lengths{0, 1};
  for (const Index n : {2, 1, 9, 0, 4, 30}) {
    cache.append(stream.tokens(stream.k, lengths, n), stream.tokens(stream.v, lengths, n));
    for (Index& length : lengths) length += n;
    CHECK(heed_test::holds(cache, stream, lengths));
  }
}

TEST_CASE("A ring can be read again, for as many queries as it still has the keys of") {
  const heed_test::CacheStream<float, float> stream(60);
  RingCache<float> cache(2, 2, 5, 3, {.sink_tokens = 2, .window_size = 6});
  const auto attention = heed::softmax_attention();
  heed_test::begin(cache, stream, {8, 4});
  Tensor<float, 4> out(2, 4, 3, 3), last(2, 4, 1, 3);
  heed::attend(attention, stream.tokens(stream.q, {5, 1}, 3), cache, heed::into(out));
  const auto visible = [](Index, Index, Index x, Index z) { return z < 2 || z > x - 6; };
  const auto want = [&](Index b, Index h, Index x) { return stream.expected(b, h, x, visible, heed_test::kSame)[0]; };
  CHECK(std::abs(double(out(0, 1, 0, 0)) - want(0, 1, 5)) < 4e-6);
  CHECK(std::abs(double(out(1, 3, 2, 0)) - want(1, 3, 3)) < 4e-6);
  heed_test::begin(cache, stream, {9, 4});
  CHECK_THROWS_WITH(heed::attend(attention, stream.tokens(stream.q, {6, 1}, 3), cache, heed::into(out)),
                    contains("ring_cache: the keys that the first of 3 queries sees have been overwritten in batch 0"));
  heed::attend(attention, stream.tokens(stream.q, {8, 3}, 1), cache, heed::into(last));
  CHECK(std::abs(double(last(0, 0, 0, 0)) - want(0, 0, 8)) < 4e-6);
}

TEST_CASE("A ring refuses what does not fit and stays as it was") {
  const heed_test::CacheStream<float, float> stream(30);
  RingCache<float> cache(2, 2, 5, 3, {.sink_tokens = 2, .window_size = 4});
  heed_test::begin(cache, stream, {3, 17});
  const auto k = stream.tokens(stream.k, {3, 17}, 3), v = stream.tokens(stream.v, {3, 17}, 3);
  const auto q = stream.tokens(stream.q, {3, 17}, 3);
  Tensor<float, 4> out(2, 4, 3, 2);
  CHECK_THROWS_WITH(cache.append(k, k), contains("ring_cache: v_new must have shape (B, Hk, N, Dv) = (2, 2, 3, 3), got "
                                                 "(2, 2, 3, 5)"));
  CHECK_THROWS_WITH(heed::append_and_attend(heed::softmax_attention(), q, k, v, cache, heed::into(out)),
                    contains("append_and_attend: out must have shape (2, 4, 3, 3), got (2, 4, 3, 2)"));
  CHECK(heed_test::holds(cache, stream, {3, 17}));

  cache.lengths(1) = std::numeric_limits<std::int32_t>::max() - 2;
  CHECK_THROWS_WITH(cache.append(k, v),
                    contains("ring_cache: batch 1 has 2147483645 tokens, and 3 more are beyond what "
                             "int32 can count"));
  cache.options.sink_tokens = -1;
  CHECK_THROWS_WITH(cache.check(), contains("ring_cache: sink_tokens must be 0 or more, got -1"));
  cache.options = {2, 0};
  CHECK_THROWS_WITH(cache.check(), contains("ring_cache: window_size must be 1 or more, got 0"));
  cache.options = {2, 5};
  CHECK_THROWS_WITH(cache.check(),
                    contains("ring_cache: k must have shape (B, Hk, sink_tokens + window_size, D) with 2 "
                             "+ 5 rows, got (2, 2, 6, 5)"));
}
