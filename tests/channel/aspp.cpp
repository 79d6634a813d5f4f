// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/aspp.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("aspp reads its map at four dilations and as a whole") {
  heed::Aspp<double> aspp{{.dilations = {1, 1, 2, 12}}};
  for (std::size_t i = 0; i < 4; ++i)
    aspp.branch[i] = {{fill<4>({2, 3, i == 0 ? 1 : 3, i == 0 ? 1 : 3})}, random_batch_norm(2)};
  aspp.pool = {{fill<2>({2, 3})}, random_batch_norm(2)};
  aspp.fuse = {{fill<2>({2, 10})}, random_batch_norm(2)};
  auto x = random_tensor<double, 4>({1, 3, 4, 5}, 1);
  check_gradients([&](auto&, const auto& v) { return aspp(v); }, x, aspp);
  CHECK_THROWS_AS(aspp(random_tensor<double, 4>({1, 2, 4, 5}, 1)), heed::Error);
}
