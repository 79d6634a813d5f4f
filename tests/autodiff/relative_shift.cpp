// SPDX-License-Identifier: Apache-2.0
#include "heed/block/relative_shift.hpp"

#include "heed/autodiff/concat.hpp"
#include "heed/block/heads.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::random_tensor;

TEST_CASE("relative_shift: element (i, j) is that of the distance j - p_i") {
  for (const Index n : {0, 1, 2, 3, 17})
    for (const Index m : {0, 1, 3, 17, 40})
      for (const bool future : {false, true}) {
        const Index columns = future ? m + n : m + 1;
        if (future && m + n == 0) continue;
        const auto x = random_tensor<float, 4>({2, 3, n, columns}, 1);
        const auto got = heed::relative_shift(x, m);
        REQUIRE(got.sizes == std::array<Index, 4>{2, 3, n, m});
        for (Index b = 0; b < 2; ++b)
          for (Index h = 0; h < 3; ++h)
            for (Index i = 0; i < n; ++i)
              for (Index j = 0; j < m; ++j) {
                const Index distance = j - (i + m - n);
                if (distance <= 0 ? m + distance < 0 : !future) continue;
                CHECK(&got(b, h, i, j) == &x(b, h, i, m + distance));
              }
      }
  CHECK_THROWS_AS(heed::relative_shift(random_tensor<float, 4>({1, 1, 3, 6}, 1), 4), heed::Error);
}

TEST_CASE("split_heads is a view of channels, and refuses heads that do not divide them") {
  const auto x = random_tensor<float, 3>({2, 5, 12}, 1);
  const auto heads = heed::split_heads(x, 3);
  REQUIRE(heads.sizes == std::array<Index, 4>{2, 3, 5, 4});
  CHECK(&heads(1, 2, 3, 1) == &x(1, 3, 9));
  CHECK_THROWS_AS(heed::split_heads(x, 5), heed::Error);
  CHECK_THROWS_AS(heed::split_heads(x, 0), heed::Error);
}

TEST_CASE("Gradients of relative_shift and split_heads") {
  auto x = random_tensor<double, 4>({2, 1, 3, 5}, 1);
  auto y = random_tensor<double, 3>({2, 3, 4}, 2);
  heed::test::check_gradients(
      [](auto&, const auto& v, const auto& w) {
        return std::make_tuple(heed::contiguous(heed::relative_shift(v, 4)), heed::contiguous(heed::split_heads(w, 2)));
      },
      x, y);
}
