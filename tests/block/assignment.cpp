// SPDX-License-Identifier: Apache-2.0
#include "heed/block/assignment.hpp"

#include <algorithm>
#include <numeric>

#include "catch.hpp"
#include "heed/sparse/prompt_token_replace.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("assign_rows has the least total of all assignments") {
  for (const Index n : {0, 1, 2, 4, 5})
    for (const Index k : {5, 6}) {
      const auto x = random_tensor<double, 2>({n, 3}, unsigned(n)), y = random_tensor<double, 2>({k, 3}, unsigned(k));
      const auto cost = heed::detail::row_distances("test", heed::const_view(x), heed::const_view(y));
      const auto total = [&](const auto& of) {
        double sum = 0;
        for (Index i = 0; i < n; ++i) sum += cost[std::size_t(i * k + Index(of(i)))];
        return sum;
      };
      std::vector<Index> order(static_cast<std::size_t>(k));
      std::iota(order.begin(), order.end(), Index(0));
      double best = 1e9;
      do best = std::min(best, total([&](Index i) { return order[std::size_t(i)]; }));
      while (std::next_permutation(order.begin(), order.end()));
      const auto got = heed::assign_rows(x, y);
      CHECK(total(got) == Approx(best));
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < i; ++j) CHECK(got(i) != got(j));
    }
  const Tensor<double, 2> x(3, 2), y(2, 2);
  CHECK_THROWS_AS(heed::assign_rows(x, y), heed::Error);
}

TEST_CASE("nearest_rows takes the first of equally near ones") {
  Tensor<float, 2> x(1, 1), y(3, 1);
  x.setValues({{0}});
  y.setValues({{2}, {-1}, {1}});
  CHECK(heed::nearest_rows(x, y)(0) == 1);
}

TEST_CASE("prompt_token_replace keeps what is not masked, and rejects too many") {
  using Op = heed::PromptTokenReplace<float>;
  const auto visual = random_tensor<float, 3>({2, 4, 3}, 1);
  Tensor<std::uint8_t, 2> mask(2, 4);
  mask.setValues({{1, 1, 0, 0}, {0, 0, 0, 0}});
  for (const auto how : {Op::Assignment::kHungarian, Op::Assignment::kNearest}) {
    const Op op{{how}, random_tensor<float, 2>({2, 3}, 2)};
    const auto result = op(visual, mask);
    for (Index n = 0; n < 8; ++n) {
      const std::int32_t index = result.prompt_index.data()[n];
      CHECK((index >= 0) == (n < 2));
      for (Index c = 0; c < 3; ++c)
        CHECK(result.out(n / 4, n % 4, c) == (index < 0 ? visual(n / 4, n % 4, c) : op.prompt_pool(index, c)));
    }
  }
  mask.setConstant(1);
  CHECK_THROWS_AS((Op{{}, random_tensor<float, 2>({2, 3}, 2)}(visual, mask)), heed::Error);
}
