// SPDX-License-Identifier: Apache-2.0
#include "heed/block/nearest_code.hpp"

#include <cmath>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("nearest_code is the code of the least distance, the first of equal ones") {
  for (const Index codes : {1, 3, 63}) {
    auto book = random_tensor<float, 2>({codes, 5}, 1);
    if (codes > 2)
      for (Index c = 0; c < 5; ++c) book(2, c) = book(1, c);
    const auto x = random_tensor<float, 3>({2, 17, 5}, 2);
    const auto got = heed::nearest_code(heed::DeviceRef(), x, book);
    for (Index b = 0; b < 2; ++b)
      for (Index n = 0; n < 17; ++n) {
        const auto distance = [&](Index j) {
          double sum = 0;
          for (Index c = 0; c < 5; ++c) sum += std::pow(double(x(b, n, c)) - double(book(j, c)), 2);
          return sum;
        };
        Index best = 0;
        for (Index j = 1; j < codes; ++j)
          if (distance(j) < distance(best)) best = j;
        CHECK(got(b, n) == best);
      }
  }
  CHECK_THROWS_AS(heed::nearest_code(heed::DeviceRef(), random_tensor<float, 3>({1, 1, 5}, 1), Tensor<float, 2>(0, 5)),
                  heed::Error);
}
