// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/cache/attend.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/cache_stream.hpp"

using heed::ContiguousCache;
using heed::Index;
using heed::PagedCache;
using heed::RingCache;
using heed::Tensor;
using heed::test::contains;

namespace {

using Stream = heed_test::CacheStream<float, float>;

template <class A, class B>
bool same_bits(const A& a, const B& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(*a.data()) * std::size_t(a.size())) == 0;
}

template <class Cache, class Attention, class Visible, class Score>
double run(Cache cache, const Attention& attention, Visible&& visible, Score&& score, Index length = 150,
           const std::vector<Index>& first = {0, 9}) {
  const Stream stream(length);
  return heed_test::run_stream(
      cache, stream, first, {1, 30, 2},
      [&](const auto& q, const auto& k, const auto& v, auto& out) {
        heed::append_and_attend(attention, q, k, v, cache, heed::into(out));
      },
      visible, score);
}

}  // namespace

TEST_CASE("Scores with distances know the positions of a stream, also between the sinks and the window of a ring") {
  Tensor<float, 1> slopes(4);
  slopes.setValues({0.5F, 0.25F, 0.125F, 0.0005F});
  const auto attention = heed::softmax_attention(heed::alibi(slopes));
  const RingCache<float> cache(2, 2, 5, 3, {.sink_tokens = 3, .window_size = 8});
  const auto visible = [](Index, Index, Index x, Index z) { return z < 3 || z > x - 8; };
  const auto score = [&](double s, Index, Index h, Index x, Index z) { return s - double(slopes(h)) * double(x - z); };
  CHECK(run(cache, attention, visible, score) < 4e-6);
  CHECK(run(cache, attention, visible, score, 3000, {2900, 1000}) < 4e-6);
}

TEST_CASE("A score of the user's own sees absolute keys") {
  const auto third = heed::score([](auto s, const auto& at) {
    using A = std::remove_cvref_t<decltype(at)>;
    return s + heed::simd::to_real<typename A::Scalar>(at.key()) *
                   typename A::Batch(static_cast<typename A::Scalar>(0.03125));
  });
  CHECK(run(
            RingCache<float>(2, 2, 5, 3, {.sink_tokens = 1, .window_size = 8}), heed::softmax_attention(third),
            [](Index, Index, Index x, Index z) { return z < 1 || z > x - 8; },
            [&](double s, Index, Index, Index, Index z) { return s + 0.03125 * double(z); }) < 4e-6);
}

TEST_CASE("Scores without positions run over a folded ring") {
  Tensor<float, 1> sinks(4);
  sinks.setValues({0.5F, -1.F, 2.F, 0.F});
  const auto attention = heed::softmax_attention(heed::softcap(1.5) | heed::sink_logit(sinks), {.scale = 0.7});
  const Stream stream(400);
  RingCache<float> cache(2, 2, 5, 3, {.sink_tokens = 2, .window_size = 8});
  heed_test::begin(cache, stream, {0, 370});
  std::vector<Index> at{0, 370};
  Tensor<float, 4> out(2, 4, 2, 3);
  Tensor<float, 3> lse(2, 4, 2);
  for (; at[1] < 396; at[0] += 2, at[1] += 2) {
    heed::append_and_attend(attention, stream.tokens(stream.q, at, 2), stream.tokens(stream.k, at, 2),
                            stream.tokens(stream.v, at, 2), cache, heed::into(out, lse));
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 4; ++h)
        for (Index t = 0; t < 2; ++t) {
          const Index x = at[std::size_t(b)] + t;
          double sum = std::exp(double(sinks(h))), mixed = 0;
          for (Index z = 0; z <= x; ++z) {
            if (z >= 2 && z <= x - 8) continue;
            double dot = 0;
            for (Index d = 0; d < 5; ++d) dot += double(stream.q(b, h, x, d)) * double(stream.k(b, h / 2, z, d));
            const double p = std::exp(1.5 * std::tanh(0.7 * dot / 1.5));
            sum += p;
            mixed += p * double(stream.v(b, h / 2, z, 1));
          }
          CHECK(std::abs(double(lse(b, h, t)) - std::log(sum)) < 4e-6);
          CHECK(std::abs(double(out(b, h, t, 1)) - mixed / sum) < 4e-6);
        }
  }
}

TEST_CASE("A rule of the user's own joins that of the store") {
  const auto even = heed::visible([](const auto& at) { return (at.key() & 1) == 0; });
  CHECK(run(
            PagedCache<float>([] {
              PagedCache<float> cache(20, 2, 16, 5, 3, 2, 10);
              for (int b = 0; b < 2; ++b)
                for (int i = 0; i < 10; ++i) cache.block_table(b, i) = 2 * i + b;
              return cache;
            }()),
            heed::softmax_attention(heed::window_left(20) && even),
            [](Index, Index, Index x, Index z) { return z >= x - 20 && z % 2 == 0; }, heed_test::kSame) < 4e-6);
  CHECK(run(
            RingCache<float>(2, 2, 5, 3, {.sink_tokens = 3, .window_size = 30}), heed::softmax_attention(even),
            [](Index, Index, Index x, Index z) { return (z < 3 || z > x - 30) && z % 2 == 0; },
            heed_test::kSame) < 4e-6);
}

TEST_CASE("A contiguous cache gives the bits of dense attention") {
  const Stream stream(70);
  const auto all = heed::softmax_attention(heed::causal());
  ContiguousCache<float> contiguous(2, 2, 100, 5, 3);
  const auto attention = heed::softmax_attention();
  for (const Index n : {1, 3, 66}) {  // to 1, 4 and 70 tokens
    const Index begin = contiguous.lengths(0), length = begin + n;
    const auto q = stream.tokens(stream.q, {begin, begin}, n), k = stream.tokens(stream.k, {begin, begin}, n),
               v = stream.tokens(stream.v, {begin, begin}, n);
    const auto want = all(q, stream.tokens(stream.k, {0, 0}, length), stream.tokens(stream.v, {0, 0}, length));
    Tensor<float, 4> out(2, 4, n, 3);
    heed::append_and_attend(attention, q, k, v, contiguous, heed::into(out));
    CHECK(same_bits(out, want));
    heed_test::poison(out);
    heed::attend(attention, q, contiguous, heed::into(out));
    CHECK(same_bits(out, want));
  }
}

TEST_CASE("Decoding gives the same bits on any number of threads and does not allocate") {
  const Stream stream(80);
  const auto attention = heed::softmax_attention();
  const auto decode = [&](const auto& device, auto cache) {
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
      heed::append_and_attend(device, attention, q[step], k[step], v[step], cache, heed::into(out[step]));
    }
    // A thread of the pool gets its scratch memory when it first finds work to do, which may be late.
    if (heed::thread_count(device) == 1) CHECK(heed::test::allocation_count() == before);
    return out;
  };
  const auto everywhere = [&](const auto& cache) {
    const auto serial = decode(Eigen::DefaultDevice(), cache);
    for (const int threads : {1, 2, 3}) {
      Eigen::ThreadPool pool(threads);
      const Eigen::ThreadPoolDevice device(&pool, threads);
      const auto parallel = decode(device, cache);
      for (std::size_t step = 0; step < serial.size(); ++step) CHECK(same_bits(parallel[step], serial[step]));
    }
  };
  everywhere(ContiguousCache<float>(2, 2, 80, 5, 3));
  everywhere(RingCache<float>(2, 2, 5, 3, {.sink_tokens = 2, .window_size = 12}));
  PagedCache<float> paged(40, 2, 8, 5, 3, 2, 10);
  for (int b = 0; b < 2; ++b)
    for (int i = 0; i < 10; ++i) paged.block_table(b, i) = 2 * i + b;
  everywhere(paged);
}

TEST_CASE("Queries before the beginning of a sequence see nothing") {
  const Stream stream(10);
  ContiguousCache<float> cache(2, 2, 10, 5, 3);
  heed_test::begin(cache, stream, {0, 2});
  Tensor<float, 4> out(2, 4, 3, 3);
  Tensor<float, 3> lse(2, 4, 3);
  heed_test::poison(out);
  heed::attend(heed::softmax_attention(), stream.tokens(stream.q, {0, 0}, 3), cache, heed::into(out, lse));
  for (Index h = 0; h < 4; ++h) {
    for (Index t = 0; t < 3; ++t) {
      CHECK(out(0, h, t, 0) == 0);
      CHECK(lse(0, h, t) == -std::numeric_limits<float>::infinity());
    }
    CHECK(out(1, h, 0, 2) == 0);
    CHECK(out(1, h, 1, 2) == stream.v(1, h / 2, 0, 2));
  }
}

TEST_CASE("What is wrong with a call is said before anything has changed") {
  const Stream stream(20);
  ContiguousCache<float> cache(2, 2, 10, 5, 3);
  heed_test::begin(cache, stream, {3, 4});
  const auto q = stream.tokens(stream.q, {3, 4}, 2), k = stream.tokens(stream.k, {3, 4}, 2),
             v = stream.tokens(stream.v, {3, 4}, 2);
  Tensor<float, 4> out(2, 4, 2, 3);
  Tensor<float, 3> lse(2, 4, 2);
  out.setConstant(7);
  const auto attention = heed::softmax_attention();
  const auto call = [&](const auto& attention, const auto& q, const auto& target) {
    heed::append_and_attend(attention, q, k, v, cache, target);
  };
  CHECK_THROWS_WITH(call(attention, stream.tokens(stream.q, {0, 0}, 3), heed::into(out)),
                    contains("append_and_attend: q must have the 2 tokens of k_new, got shape (2, 4, 3, 5)"));
  CHECK_THROWS_WITH(call(attention, Tensor<float, 4>(2, 4, 2, 4), heed::into(out)),
                    contains("append_and_attend: q must have shape (B, H, N, D) with B = 2 and D = 5 as in the cache, "
                             "got (2, 4, 2, 4)"));
  CHECK_THROWS_WITH(call(attention, Tensor<float, 4>(2, 3, 2, 5), heed::into(out)),
                    contains("append_and_attend: the number of heads 3 must be a multiple of the number of key/value "
                             "heads 2"));
  Tensor<float, 4> wrong(2, 4, 2, 4);
  CHECK_THROWS_WITH(call(attention, q, heed::into(wrong)),
                    contains("append_and_attend: out must have shape (2, 4, 2, 3), got (2, 4, 2, 4)"));
  Tensor<float, 3> wrong_lse(2, 4, 1);
  CHECK_THROWS_WITH(call(attention, q, heed::into(out, wrong_lse)),
                    contains("append_and_attend: lse must have shape (2, 4, 2), got (2, 4, 1)"));
  Tensor<float, 3> empty_lse(2, 4, 0);
  CHECK_THROWS_WITH(call(attention, q, heed::into(out, empty_lse)),
                    contains("append_and_attend: lse must have shape (2, 4, 2), got (2, 4, 0)"));
  CHECK_THROWS_WITH(
      call(heed::softmax_attention({.scale = std::numeric_limits<double>::infinity()}), q, heed::into(out)),
      contains("append_and_attend: the scale must be finite, got inf"));
  CHECK_THROWS_WITH(call(heed::softmax_attention({.scale = 1e300}), q, heed::into(out)),
                    contains("append_and_attend: the scale must be finite, got 1e+300"));
  CHECK_THROWS_WITH(call(heed::softmax_attention({.position_offset = 3}), q, heed::into(out)),
                    contains("append_and_attend: position_offset must be left out"));
  Tensor<float, 1> slopes(3);
  CHECK_THROWS_WITH(call(heed::softmax_attention(heed::alibi(slopes)), q, heed::into(out)),
                    contains("alibi: slopes must have shape (H) = (4), got (3)"));
  CHECK_THROWS_WITH(heed::attend(attention, q, cache, heed::into(wrong)),
                    contains("attend: out must have shape (2, 4, 2, 3), got (2, 4, 2, 4)"));
  CHECK(heed_test::holds(cache, stream, {3, 4}));
  CHECK(std::all_of(out.data(), out.data() + out.size(), [](float x) { return x == 7; }));
  ContiguousCache<float> narrow(2, 2, 10, 5, 0);
  Tensor<float, 4> none(2, 4, 2, 0);
  CHECK_THROWS_WITH(heed::attend(attention, q, narrow, heed::into(none)),
                    contains("attend: D and Dv must be 1 or more, got 5 and 0"));
}
