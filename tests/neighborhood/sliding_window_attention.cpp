// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/sliding_window_attention.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

TEST_CASE("sliding_window_attention: widths, dilations of heads, causal, any length") {
  for (const Index tokens : {0, 1, 3, 17, 130})
    for (const Index width : {0, 2, 40})
      for (const bool causal : {false, true}) {
        const heed::SlidingWindowAttention attend{{.window_size = width, .dilation = {1, 1, 4}, .causal = causal}};
        const auto q = random_tensor<float, 4>({2, 3, tokens, 5}, 1), k = random_tensor<float, 4>({2, 3, tokens, 5}, 2);
        const auto v = random_tensor<float, 4>({2, 3, tokens, 2}, 3);
        NaiveAttention naive;
        naive.visible = [&](Index, Index h, Index i, Index j) {
          const Index step = h == 2 ? 4 : 1;
          return (j - i) % step == 0 && std::abs(j - i) <= width * step && (!causal || j <= i);
        };
        const auto got = attend(q, k, v);
        CHECK(error_of(got, naive(q, k, v).out) < 1e-6);
        Eigen::ThreadPool pool(2);
        const auto again = attend(Eigen::ThreadPoolDevice(&pool, 2), q, k, v);
        CHECK((tokens == 0 || std::memcmp(again.data(), got.data(), sizeof(float) * std::size_t(got.size())) == 0));
      }
}

TEST_CASE("sliding_window_attention: what is out of reach is not seen, NaN included; errors") {
  heed::SlidingWindowAttention attend{{.window_size = 2, .dilation = {3}}};
  const auto q = random_tensor<float, 4>({1, 1, 40, 4}, 1);
  auto k = q, v = q;
  const auto want = attend(q, k, v);
  k(0, 0, 20, 1) = v(0, 0, 20, 2) = float(kNaN);
  const auto got = attend(q, k, v);
  for (Index i = 0; i < 40; ++i)
    if (std::abs(i - 20) > 6 || (i - 20) % 3 != 0) CHECK(got(0, 0, i, 2) == want(0, 0, i, 2));
  attend.options.dilation = {1, 2};
  CHECK_THROWS_WITH(attend(q, k, v),
                    "sliding_window_attention: dilation must be one number, or one for each of the 1 heads, got 2");
  attend.options.dilation = {0};
  CHECK_THROWS_WITH(attend(q, k, v), "sliding_window_attention: dilation must be 1 or more, got 0");
  attend.options.window_size = -1;
  CHECK_THROWS_AS(attend(q, k, v), heed::Error);
}
