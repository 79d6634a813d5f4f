// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/score/fill.hpp"

#include "catch.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("Filled scores hide what is not allowed, and spread a row of nothing else evenly") {
  const Index n = 40, m = 21;
  const auto q = random_tensor<float, 4>({1, 1, n, 4}, 1), k = random_tensor<float, 4>({1, 1, m, 4}, 2),
             v = random_tensor<float, 4>({1, 1, m, 3}, 3);
  Tensor<std::int32_t, 3> rows(1, 1, n), columns(1, 1, m);
  for (Index i = 0; i < n; ++i) rows(0, 0, i) = std::int32_t(i == 7 ? -1 - i : i);
  for (Index j = 0; j < m; ++j) columns(0, 0, j) = std::int32_t(j % 5 == 3 ? -1 - j : j);
  NaiveAttention naive;
  naive.visible = [](Index, Index, Index i, Index j) { return i != 7 && j % 5 != 3 && j <= i; };
  const auto want = naive(q, k, v).out;
  const auto out = softmax_attention(fill_scores(rows, columns, true, false))(q, k, v);
  for (Index i = 0; i < n; ++i)
    for (Index d = 0; d < 3; ++d) {
      if (i != 7) {
        CHECK(std::abs(out(0, 0, i, d) - want(0, 0, i, d)) < 1e-5);
        continue;
      }
      double mean = 0;
      for (Index j = 0; j < m; ++j) mean += double(v(0, 0, j, d)) / double(m);
      CHECK(std::abs(out(0, 0, i, d) - mean) < 1e-5);
    }

  // Weights taken again from the log-sum-exp, as the gradient does, are 1 / m.
  const auto lse = std::get<1>(softmax_attention(fill_scores(rows, columns, true, false)).with_lse(q, k, v));
  CHECK(std::abs(double(lse(0, 0, 7)) + FilledScores::kFillLimit<float> - std::log(double(m))) < 1e-4);

  // With `self` a token meets itself only where there is no other: here everywhere at position 0, and in row 7.
  const auto alone = softmax_attention(fill_scores(rows, columns, true, true))(q, k, v);
  for (Index d = 0; d < 3; ++d) {
    CHECK(std::abs(alone(0, 0, 0, d) - v(0, 0, 0, d)) < 1e-6);
    CHECK(std::abs(alone(0, 0, 7, d) - v(0, 0, 7, d)) < 1e-6);
  }
}
