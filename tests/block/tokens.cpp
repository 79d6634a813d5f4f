// SPDX-License-Identifier: Apache-2.0
#include "heed/block/tokens.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("map_of_tokens is a view, tokens_of_map its inverse") {
  const auto x = random_tensor<float, 3>({2, 15, 4}, 1);
  const auto map = heed::map_of_tokens("test", x, 3, 5);
  REQUIRE(map.sizes == std::array<Index, 4>{2, 4, 3, 5});
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 5; ++j) CHECK(&map(1, 3, i, j) == &x(1, i * 5 + j, 3));
  CHECK(error_of(heed::tokens_of_map(DeviceRef(), map), x) == 0);
  CHECK(heed::tokens_of_map(DeviceRef(), Tensor<float, 4>(2, 4, 3, 0)).dimension(2) == 4);
  CHECK_THROWS_WITH(heed::map_of_tokens("test", x, 4, 4), "test: x must have h w = 4 * 4 tokens, got shape (2, 15, 4)");
  CHECK_THROWS_WITH(heed::map_of_tokens("test", x, -3, -5),
                    "test: x must have h w = -3 * -5 tokens, got shape (2, 15, 4)");
}

TEST_CASE("depthwise_tokens is the convolution of the map, its result in the order of tokens") {
  for (const Index channels : {1, 3, 17}) {
    const auto x = random_tensor<float, 3>({2, 35, channels}, 1);
    const auto weight = random_tensor<float, 4>({channels, 1, 3, 3}, 2);
    const auto bias = random_tensor<float, 1>({channels}, 3);
    const auto options = heed::ConvOptions::same(3, channels);
    const auto map = heed::map_of_tokens("test", x, 5, 7);
    const auto got = heed::depthwise_tokens(DeviceRef(), map, weight, bias, options);
    Tensor<double, 4> want(2, 5, 7, channels);
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < 5; ++i)
        for (Index j = 0; j < 7; ++j)
          for (Index c = 0; c < channels; ++c) {
            want(b, i, j, c) = double(bias(c));
            for (Index a = 0; a < 9; ++a) {
              const Index y = i + a / 3 - 1, z = j + a % 3 - 1;
              if (y >= 0 && y < 5 && z >= 0 && z < 7)
                want(b, i, j, c) += double(weight(c, 0, a / 3, a % 3)) * double(x(b, y * 7 + z, c));
            }
          }
    CHECK(error_of(got, want) < 1e-6);
  }
}
