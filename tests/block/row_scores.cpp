// SPDX-License-Identifier: Apache-2.0
#include "heed/block/row_scores.hpp"

#include "catch.hpp"
#include "heed/block/matmul.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("row_scores are the products of matmul, for any batch and number of threads") {
  for (const Index keys : {0, 1, 3, 17, 70})
    for (const Index width : {1, 3, 17}) {
      const auto query = random_tensor<float, 2>({5, width}, 1);
      const auto key = random_tensor<float, 3>({5, keys, width}, 2);
      const auto got = heed::row_scores(Eigen::DefaultDevice(), query, key);
      const auto want = heed::matmul(heed::view(query).split(0, 1), heed::view(key).permute({0, 2, 1}));
      CHECK(error_of(got, heed::view(want).merge(1)) < 1e-6);
      Eigen::ThreadPool pool(3);
      const Eigen::ThreadPoolDevice device(&pool, 3);
      const auto threaded = heed::row_scores(device, heed::view(query).slice(0, 1, 3), heed::view(key).slice(0, 1, 3));
      for (Index m = 0; m < keys; ++m) CHECK(threaded(2, m) == got(3, m));
    }
  CHECK_THROWS_AS(heed::row_scores(Eigen::DefaultDevice(), random_tensor<float, 2>({2, 3}, 1),
                                   random_tensor<float, 3>({2, 4, 2}, 1)),
                  heed::Error);
}
