// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/bam.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("bam joins a channel branch and a spatial branch") {
  using Bam = heed::Bam<double>;
  auto x = random_tensor<double, 4>({2, 4, 3, 4}, 1);
  for (const auto& options : {Bam::Options{.num_layers = 2, .dilation_convs = 1, .dilation = 2},
                              Bam::Options{.dilation_convs = 0, .combine = Bam::Combine::kAdd}}) {
    Bam bam(options);
    for (std::size_t i = 0; i < bam.channel.size(); ++i)
      bam.channel[i] = {{fill<2>({2, i == 0 ? 4 : 2}), fill<1>({2})}, random_batch_norm(2)};
    bam.channel_out = {fill<2>({4, 2}), fill<1>({4})};
    bam.reduce = {fill<2>({2, 4}), fill<1>({2})};
    bam.reduce_bn = random_batch_norm(2);
    for (auto& layer : bam.spatial) layer = {{fill<4>({2, 2, 3, 3}), fill<1>({2})}, random_batch_norm(2)};
    bam.spatial_out = {fill<2>({1, 2}), fill<1>({1})};
    check_gradients([&](auto&, const auto& v) { return bam(v); }, x, bam);
  }
  CHECK_THROWS_AS(Bam({.num_layers = 0}), heed::Error);
}
