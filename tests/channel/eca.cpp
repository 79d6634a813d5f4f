// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/eca.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("eca gates by a convolution along the channels") {
  CHECK(heed::Eca<float>::kernel_size(64) == 3);
  CHECK(heed::Eca<float>::kernel_size(256) == 5);
  CHECK(heed::Eca<float>::kernel_size(512) == 5);
  auto x = random_tensor<double, 4>({2, 5, 3, 2}, 1);
  for (const Index k : {1, 3, 7}) {
    heed::Eca<double> eca{fill<1>({k})};
    heed::Eca<double, false> own{fill<2>({5, k})};
    check_gradients([&](auto&, const auto& v) { return eca(v); }, x, eca);
    check_gradients([&](auto&, const auto& v) { return own(v); }, x, own);
    for (Index c = 0; c < 5; ++c)
      for (Index j = 0; j < k; ++j) own.conv_weight(c, j) = eca.conv_weight(j);
    CHECK(error_of(own(x), eca(x)) == 0);
  }
  CHECK_THROWS_AS(heed::Eca<double>{fill<1>({2})}(x), heed::Error);
}
