// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/cbam.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("cbam is its two gates in turn") {
  heed::Cbam<double> cbam;
  cbam.channel.fc1 = {fill<2>({2, 4}), {}};
  cbam.channel.fc2 = {fill<2>({4, 2}), {}};
  cbam.spatial.conv.weight = fill<4>({1, 2, 3, 3});
  cbam.spatial.bn = random_batch_norm(1);
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  check_gradients([&](auto&, const auto& v) { return cbam(v); }, x, cbam);
  CHECK(error_of(cbam(x), cbam.spatial(cbam.channel(x))) == 0);
  cbam.options.no_spatial = true;
  CHECK(error_of(cbam(x), cbam.channel(x)) == 0);
}
