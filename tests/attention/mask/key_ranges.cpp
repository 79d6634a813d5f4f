// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/key_ranges.hpp"

#include <random>

#include "catch.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("key_ranges shows each query its run of keys") {
  std::mt19937 engine(1);
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {17, 300}, {200, 131}}) {
    Tensor<std::int32_t, 3> begin(2, 1, n), end(2, 1, n);
    std::uniform_int_distribution<int> place(-2, int(m) + 2);
    for (Index i = 0; i < begin.size(); ++i) {
      begin.data()[i] = place(engine);
      end.data()[i] = place(engine);
    }
    const auto q = random_tensor<float, 4>({2, 2, n, 5}, 1), k = random_tensor<float, 4>({2, 2, m, 5}, 2),
               v = random_tensor<float, 4>({2, 2, m, 3}, 3);
    NaiveAttention naive;
    naive.visible = [&](Index b, Index, Index i, Index j) { return begin(b, 0, i) <= j && j < end(b, 0, i); };
    CHECK(error_of(softmax_attention(key_ranges(begin, end))(q, k, v), naive(q, k, v).out) < 2e-6);
  }
  const Tensor<float, 4> q(1, 2, 5, 3);
  const Tensor<std::int32_t, 3> begin(1, 3, 5), end(1, 1, 5);
  CHECK_THROWS_AS(softmax_attention(key_ranges(begin, end))(q, q, q), Error);
}
