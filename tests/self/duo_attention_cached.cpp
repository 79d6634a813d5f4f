// SPDX-License-Identifier: Apache-2.0
#include "heed/self/duo_attention_cached.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::DuoAttentionCached;
using heed::DuoPrefill;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

// Every token of a stream, and for each step what its queries must see.
struct Stream {
  DuoAttentionCached attend;
  Index heads = 4, kv_heads = 2, total;
  Tensor<float, 4> q, k, v;

  Stream(const DuoAttentionCached& attend, Index total)
      : attend(attend),
        total(total),
        q(random_tensor<float, 4>({2, 4, total, 8}, 1)),
        k(random_tensor<float, 4>({2, 2, total, 8}, 2)),
        v(random_tensor<float, 4>({2, 2, total, 6}, 3)) {}

  void check(const std::vector<Index>& steps) const {
    const auto& o = attend.options;
    auto cache = attend.cache<float>(2, kv_heads, total, 8, 6);
    cache.full.k.setConstant(float(heed::test::kNaN));
    cache.stream.v.setConstant(float(heed::test::kNaN));
    Index start = 0;
    for (const Index n : steps) {
      const auto part = [&](const Tensor<float, 4>& x, Index from, Index count) {
        return heed::const_view(x).slice(2, from, count);
      };
      const auto out = attend(part(q, start, n), part(k, start, n), part(v, start, n), cache);
      heed::test::NaiveAttention naive;
      naive.visible = [&](Index, Index h, Index i, Index j) {
        const Index at = start + i;
        if (j > at) return false;
        if (h / 2 < o.num_full_heads || j >= start) {
          return h / 2 < o.num_full_heads || start > 0 || o.prefill == DuoPrefill::kDense || j < o.sink_size ||
                 at - j < o.recent_size;
        }
        return j < o.sink_size || j >= start - o.recent_size;
      };
      CHECK(error_of(out, naive(part(q, start, n), part(k, 0, start + n), part(v, 0, start + n)).out) < 1e-5);
      start += n;
    }
    const auto kept = cache.stream.in_order(cache.stream.k);
    const Index count = std::min(start, o.sink_size + o.recent_size);
    REQUIRE(kept.dimension(2) == count);
    for (Index r = 0; r < count && o.num_full_heads < 2; ++r) {
      const Index at = r < o.sink_size ? r : start - count + r;
      for (Index d = 0; d < 8; ++d) CHECK(kept(1, kept.dimension(1) - 1, r, d) == k(1, 1, at, d));
    }
    for (Index j = 0; j < start && o.num_full_heads > 0; ++j) CHECK(cache.full.k(0, 0, j, 3) == k(0, 0, j, 3));
  }
};

}  // namespace

TEST_CASE("duo_attention_cached: prefill, chunks and single tokens see what they must") {
  for (const Index full : {0, 1, 2})
    for (const auto prefill : {DuoPrefill::kDense, DuoPrefill::kStreaming})
      for (const Index sinks : {0, 2})
        for (const Index recent : {1, 3, 20}) {
          CAPTURE(full, int(prefill), sinks, recent);
          const DuoAttentionCached attend{
              {.num_full_heads = full, .sink_size = sinks, .recent_size = recent, .prefill = prefill}};
          Stream(attend, 70).check({1, 1, 1, 1, 1, 1, 1, 1});
          Stream(attend, 70).check({33, 1, 1, 5, 1, 17, 1});
          Stream(attend, 70).check({3, 2, 63, 1});
        }
}

TEST_CASE("duo_attention_cached stores 16 bits, and leaves the stores alone where something does not fit") {
  const DuoAttentionCached attend{{.num_full_heads = 1, .sink_size = 1, .recent_size = 3}};
  auto small = attend.cache<heed::bfloat16>(1, 2, 6, 8, 8);
  const auto q = random_tensor<float, 4>({1, 4, 5, 8}, 1), k = random_tensor<float, 4>({1, 2, 5, 8}, 2);
  const auto v = random_tensor<float, 4>({1, 2, 5, 8}, 3);
  auto exact = attend.cache<float>(1, 2, 6, 8, 8);
  CHECK(error_of(attend(q, k, v, small), attend(q, k, v, exact)) < 2e-2);
  CHECK_THROWS_WITH(attend(q, k, v, exact), heed::test::contains("do not fit into the capacity of 6"));
  CHECK(exact.full.lengths(0) == 5);
  CHECK(exact.stream.lengths(0) == 5);
  CHECK_THROWS_AS(attend(q, k, random_tensor<float, 4>({1, 2, 4, 8}, 3), exact), heed::Error);
  auto other = DuoAttentionCached{{.num_full_heads = 2}}.cache<float>(1, 2, 6, 8, 8);
  CHECK_THROWS_AS(attend(q, k, v, other), heed::Error);
  CHECK_THROWS_AS((DuoAttentionCached{{.num_full_heads = 3}}.cache<float>(1, 2, 6, 8, 8)), heed::Error);
}
