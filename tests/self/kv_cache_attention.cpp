// SPDX-License-Identifier: Apache-2.0
#include "heed/self/kv_cache_attention.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/cache_stream.hpp"

using heed::ContiguousCache;
using heed::Index;
using heed::KvCacheAttention;
using heed::PagedCache;
using heed::RingCache;
using heed::Tensor;
using heed::test::contains;

namespace {

template <class U>
PagedCache<U> paged(Index width, Index value_width) {
  PagedCache<U> cache(24, 2, 16, width, value_width, 2, 10);
  for (int b = 0; b < 2; ++b)
    for (int i = 0; i < 10; ++i) cache.block_table(b, i) = 23 - (2 * i + b);
  return cache;
}

template <class T, class U, class Cache, class Visible, class Score>
double run(Cache cache, const KvCacheAttention& decode, const std::vector<Index>& pieces, Index width,
           Visible&& visible, Score&& score) {
  const heed_test::CacheStream<T, U> stream(120, width, 3);
  return heed_test::run_stream(
      cache, stream, {0, 9}, pieces,
      [&](const auto& q, const auto& k, const auto& v, auto& out) {
        const auto result = decode(q, k, v, cache);
        REQUIRE(result.dimensions() == out.dimensions());
        out = result;
      },
      visible, score);
}

// What StreamingLLM's positions make of a score: both sides rotated by their rank among the visible keys.
template <class T, class U, class Cache>
double run_ranks(Cache cache, Index sinks, Index window) {
  const Index width = 6;
  const heed_test::CacheStream<T, U> stream(120, width, 3);
  const auto visible = [&](Index, Index, Index x, Index z) { return z < sinks || z > x - window; };
  const auto score = [&](double, Index b, Index h, Index x, Index z) {
    const auto rank = [&](Index position) {
      Index before = 0;
      for (Index y = 0; y < position; ++y) before += visible(b, h, x, y) ? 1 : 0;
      return double(before);
    };
    double dot = 0;
    for (Index c = 0; c < width / 2; ++c) {
      const double omega = std::pow(100.0, -2.0 * double(c) / double(width));
      const auto rotated = [&](double u, double v, double angle) {
        return std::pair(u * std::cos(angle) - v * std::sin(angle), v * std::cos(angle) + u * std::sin(angle));
      };
      const auto q = rotated(double(stream.q(b, h, x, c)), double(stream.q(b, h, x, c + width / 2)), rank(x) * omega);
      const auto k = rotated(double(stream.stored(stream.k(b, h / 2, z, c))),
                             double(stream.stored(stream.k(b, h / 2, z, c + width / 2))), rank(z) * omega);
      dot += q.first * k.first + q.second * k.second;
    }
    return 0.5 * dot;
  };
  const KvCacheAttention decode{{.scale = 0.5, .rope_base = 100}};
  return heed_test::run_stream(
      cache, stream, {0, 9}, {1},
      [&](const auto& q, const auto& k, const auto& v, auto& out) { out = decode(q, k, v, cache); }, visible, score);
}

constexpr Index kEndless = 1000;

}  // namespace

TEST_CASE("Softcap and scale, over all stores") {
  const KvCacheAttention decode{{.scale = 0.8, .softcap = 1.25}};
  const auto score = [](double s, Index, Index, Index, Index) {
    return 1.25 * std::tanh(s * std::sqrt(5.0) * 0.8 / 1.25);
  };
  CHECK(run<float, float>(ContiguousCache<float>(2, 2, 120, 5, 3), decode, {1, 30}, 5, heed_test::kAll, score) < 4e-6);
  CHECK(run<float, float>(paged<float>(5, 3), decode, {1, 30}, 5, heed_test::kAll, score) < 4e-6);
  const auto window = [](Index, Index, Index x, Index z) { return z < 3 || z > x - 10; };
  CHECK(run<float, float>(RingCache<float>(2, 2, 5, 3, {.sink_tokens = 3, .window_size = 10}), decode, {1, 30, 2}, 5,
                          window, score) < 4e-6);
}

TEST_CASE("Positions within the cache, over all stores") {
  CHECK(run_ranks<float, float>(ContiguousCache<float>(2, 2, 120, 6, 3), 0, kEndless) < 4e-6);
  CHECK(run_ranks<float, float>(paged<float>(6, 3), 0, kEndless) < 4e-6);
  CHECK(run_ranks<float, float>(RingCache<float>(2, 2, 6, 3, {.sink_tokens = 3, .window_size = 10}), 3, 10) < 4e-6);
  CHECK(run_ranks<double, double>(RingCache<double>(2, 2, 6, 3, {.window_size = 70}), 0, 70) < 1e-12);
  CHECK(run_ranks<float, heed::bfloat16>(RingCache<heed::bfloat16>(2, 2, 6, 3, {.sink_tokens = 1, .window_size = 7}), 1,
                                         7) < 4e-6);
}

TEST_CASE("The same bits on any number of threads, and no allocation") {
  const heed_test::CacheStream<float, float> stream(80, 6, 3);
  for (const double rope_base : {0.0, 10000.0}) {
    const KvCacheAttention attention{{.rope_base = rope_base}};
    const auto decode = [&](const auto& device) {
      RingCache<float> cache(2, 2, 6, 3, {.sink_tokens = 2, .window_size = 12});
      heed_test::begin(cache, stream, {40, 3});
      std::vector<Tensor<float, 4>> q, k, v, out;
      for (Index step = 0; step < 30; ++step) {
        q.push_back(stream.tokens(stream.q, {40 + step, 3 + step}, 1));
        k.push_back(stream.tokens(stream.k, {40 + step, 3 + step}, 1));
        v.push_back(stream.tokens(stream.v, {40 + step, 3 + step}, 1));
        out.emplace_back(2, 4, 1, 3);
      }
      std::size_t before = 0;
      for (std::size_t step = 0; step < 30; ++step) {
        if (step == 15) before = heed::test::allocation_count();
        attention(device, q[step], k[step], v[step], cache, heed::into(out[step]));
      }
      if (heed::thread_count(device) == 1) CHECK(heed::test::allocation_count() == before);
      return out;
    };
    const auto serial = decode(Eigen::DefaultDevice());
    for (const int threads : {1, 2, 3}) {
      Eigen::ThreadPool pool(threads);
      const auto parallel = decode(Eigen::ThreadPoolDevice(&pool, threads));
      for (std::size_t step = 0; step < serial.size(); ++step)
        CHECK(std::memcmp(parallel[step].data(), serial[step].data(), sizeof(float) * 24) == 0);
    }
  }
}

TEST_CASE("Errors leave cache and output as they were") {
  const heed_test::CacheStream<float, float> stream(20);
  ContiguousCache<float> cache(2, 2, 6, 5, 3);
  heed_test::begin(cache, stream, {3, 5});
  const auto tokens = [&](Index n) {
    return std::tuple(stream.tokens(stream.q, {3, 5}, n), stream.tokens(stream.k, {3, 5}, n),
                      stream.tokens(stream.v, {3, 5}, n));
  };
  const auto [q, k, v] = tokens(1);
  const auto [q2, k2, v2] = tokens(2);
  KvCacheAttention decode{{.softcap = -1}};
  CHECK_THROWS_WITH(decode(q, k, v, cache),
                    contains("kv_cache_attention: softcap must be 0 (off) or positive and finite, got -1"));
  decode.options = {.rope_base = -1};
  CHECK_THROWS_WITH(decode(q, k, v, cache),
                    contains("kv_cache_attention: rope_base must be 0 (off) or positive and finite, got -1"));
  decode.options = {.rope_base = 100};
  CHECK_THROWS_WITH(decode(q, k, v, cache),
                    contains("kv_cache_attention: rotary_dim must be even and in 2 .. D = 5, got 5"));
  cache.lengths(1) = 4;
  CHECK_THROWS_WITH(decode(q2, k2, v2, cache),
                    contains("kv_cache_attention: with rope_base > 0 q and k_new must have N = 1, got 2 and 2"));
  cache.lengths(1) = 5;
  decode.options = {};
  CHECK_THROWS_WITH(decode(q2, k2, v2, cache),
                    contains("contiguous_cache: batch 1 has 5 tokens, and 2 more do not fit"));
  CHECK_THROWS_WITH(decode(q2, k, v, cache), contains("kv_cache_attention: q must have the 1 tokens of k_new"));
  Tensor<float, 4> wrong(2, 4, 1, 5);
  CHECK_THROWS_WITH(decode(Eigen::DefaultDevice(), q, k, v, cache, heed::into(wrong)),
                    contains("kv_cache_attention: out must have shape (2, 4, 1, 3), got (2, 4, 1, 5)"));
  CHECK(heed_test::holds(cache, stream, {3, 5}));
}
