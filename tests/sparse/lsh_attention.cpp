// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/lsh_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("lsh_attention attends to the chunk of a token and to the one before it, round by round") {
  const Index tokens = 64, size = 8, rounds = 2, width = 6;
  const auto qk = random_tensor<float, 3>({2, tokens, width}, 1), v = random_tensor<float, 3>({2, tokens, 3}, 2);
  const auto rotations = random_tensor<float, 3>({width, rounds, tokens / size / 2}, 3);
  auto mask = random_mask<2>({2, tokens}, 4, 0.8);
  for (const bool is_causal : {false, true})
    for (const bool across : {false, true}) {
      const LshAttention attend{{.bucket_size = size, .causal = is_causal, .attend_across_buckets = across}};
      const auto [out, buckets] = attend(qk, v, rotations, {.input_mask = const_view(mask)});
      check_threads([&](const heed::DeviceRef& device) {
        return attend(device, qk, v, rotations, {.input_mask = const_view(mask)}).out;
      });
      double worst = 0;
      for (Index b = 0; b < 2; ++b) {
        std::vector<Index> order;
        std::vector<std::int32_t> bucket;
        for (Index r = 0; r < rounds; ++r) {
          std::vector<Index> one(static_cast<std::size_t>(tokens));
          for (Index n = 0; n < tokens; ++n) one[std::size_t(n)] = n;
          std::stable_sort(one.begin(), one.end(),
                           [&, &of = buckets](Index x, Index y) { return of(b, r, x) < of(b, r, y); });
          for (const Index n : one) {
            order.push_back(n);
            bucket.push_back(buckets(b, r, n));
          }
        }
        const Index count = rounds * tokens;
        std::vector<double> sums(std::size_t(tokens), 0), values(std::size_t(tokens), 0);
        for (Index s = 0; s < count; ++s) {
          const Index i = order[std::size_t(s)];
          for (Index x = 0; x < 2 * size; ++x) {
            const Index t = (s / size * size - size + x + count) % count, j = order[std::size_t(t)];
            if (i != j && ((is_causal && j > i) || mask(b, i) == 0 || mask(b, j) == 0)) continue;
            if (!across && bucket[std::size_t(s)] != bucket[std::size_t(t)]) continue;
            double dot = 0, length = 0;
            for (Index d = 0; d < width; ++d) {
              dot += double(qk(b, i, d)) * double(qk(b, j, d));
              length += double(qk(b, j, d)) * double(qk(b, j, d));
            }
            // exp(-5e4) beside others; what is alone has any weight.
            const double weight = i == j ? 1e-200 : std::exp(dot / std::sqrt(length) / std::sqrt(double(width)));
            sums[std::size_t(i)] += weight;
            values[std::size_t(i)] += weight * double(v(b, j, 1));
          }
        }
        for (Index i = 0; i < tokens; ++i)
          worst = std::max(worst, std::abs(out(b, i, 1) - values[std::size_t(i)] / sums[std::size_t(i)]));
      }
      CHECK(worst < 1e-5);
    }
  CHECK_THROWS_AS((LshAttention{{.bucket_size = 24}}(qk, v, rotations)), Error);
}
