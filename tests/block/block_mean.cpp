// SPDX-License-Identifier: Apache-2.0
#include "heed/block/block_mean.hpp"

#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/reduce.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("block_mean: the last block by its own length") {
  for (const Index tokens : {0, 1, 3, 17, 63})
    for (const Index size : {1, 2, 5, 17, 100}) {
      const auto x = random_tensor<float, 4>({2, 3, tokens, 5}, 1);
      const Index blocks = (tokens + size - 1) / size;
      Tensor<double, 4> want(2, 3, blocks, 5);
      want.setZero();
      for (Index b = 0; b < 2; ++b)
        for (Index h = 0; h < 3; ++h)
          for (Index j = 0; j < tokens; ++j)
            for (Index d = 0; d < 5; ++d)
              want(b, h, j / size, d) += double(x(b, h, j, d)) / double(std::min(size, tokens - j / size * size));
      const auto got = heed::block_mean(Eigen::DefaultDevice(), x, size);
      REQUIRE(got.dimension(2) == blocks);
      CHECK(error_of(got, want) < 1e-6);
    }
  CHECK_THROWS_WITH(heed::block_mean(Eigen::DefaultDevice(), Tensor<float, 4>(1, 1, 2, 2), 0),
                    "block_mean: the size of a block must be 1 or more, got 0");
}

TEST_CASE("Gradients of block_mean") {
  auto x = random_tensor<double, 4>({1, 2, 7, 3}, 1);
  heed::test::check_gradients([](auto&, const auto& v) { return heed::block_mean(heed::DeviceRef(), v, 3); }, x);
}
