// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/mafi.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("mafi gates the fused map by both modalities") {
  heed::Mafi<double> mafi{{{fill<4>({3, 1, 3, 3})}, random_batch_norm(3)},
                          {{fill<4>({3, 2, 3, 3})}, random_batch_norm(3)},
                          {{fill<4>({3, 3, 3, 3})}, random_batch_norm(3)},
                          {fill<2>({3, 3}), fill<1>({3})}};
  auto image = random_tensor<double, 4>({1, 2, 3, 4}, 1), lidar = random_tensor<double, 4>({1, 1, 3, 4}, 2);
  const auto apply = [&](auto&, const auto& i, const auto& l) { return mafi(i, l); };
  check_gradients(apply, image, lidar, mafi);
  const Tensor<double, 4> shared = mafi(image, lidar);
  mafi.gate_lidar = mafi.gate_image = mafi.shared_gate;
  mafi.shared_gate = {};
  CHECK(error_of(mafi(image, lidar), shared) == 0);
  mafi.gate_image.weight = fill<2>({3, 3});
  check_gradients(apply, image, lidar, mafi);
  CHECK_THROWS_AS(mafi(image, random_tensor<double, 4>({1, 1, 3, 5}, 2)), heed::Error);
}
