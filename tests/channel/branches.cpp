// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/bam.hpp"
#include "heed/channel/pyramid_squeeze_attention.hpp"
#include "heed/channel/selective_kernel.hpp"
#include "support/channel.hpp"
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;
TEST_CASE("g") {
  auto x = random_tensor<double, 4>({2, 4, 3, 4}, 1);
  heed::Bam<double> bam{{.num_layers = 2, .dilation_convs = 1, .dilation = 2}};
  bam.channel[0] = {{fill<2>({2, 4}), fill<1>({2})}, random_batch_norm(2)};
  bam.channel[1] = {{fill<2>({2, 2}), fill<1>({2})}, random_batch_norm(2)};
  bam.channel_out = {fill<2>({4, 2}), fill<1>({4})};
  bam.reduce = {fill<2>({2, 4}), fill<1>({2})};
  bam.reduce_bn = random_batch_norm(2);
  bam.spatial[0].conv = {fill<4>({2, 2, 3, 3}), fill<1>({2})};
  bam.spatial[0].bn = random_batch_norm(2);
  bam.spatial_out = {fill<2>({1, 2}), fill<1>({1})};
  check_gradients([&](auto&, const auto& v) { return bam(v); }, x, bam);
  bam.options.combine = bam.options.combine == heed::Bam<double>::Combine::kAdd ? heed::Bam<double>::Combine::kMultiply
                                                                                : heed::Bam<double>::Combine::kAdd;
  check_gradients([&](auto&, const auto& v) { return bam(v); }, x, bam);
  heed::SelectiveKernel<double> sk{{.dilations = {1, 2, 1}, .stride = 2}};
  sk.branches[0].conv.weight = fill<4>({4, 4, 3, 3});
  sk.branches[1].conv.weight = fill<4>({4, 1, 3, 3});
  sk.branches[2].conv.weight = fill<4>({4, 2, 1, 1});
  for (auto& b : sk.branches) {
    b.bn = random_batch_norm(4);
    b.head = {fill<2>({4, 3}), fill<1>({4})};
  }
  sk.fc = {fill<2>({3, 4}), {}};
  sk.fc_bn = random_batch_norm(3);
  check_gradients([&](auto&, const auto& v) { return sk(v); }, x, sk);
  heed::PyramidSqueezeAttention<double> psa;
  for (std::size_t i = 0; i < 4; ++i)
    psa.conv[i].weight = fill<4>({2, i < 2 ? 4 : 2, 2 * Index(i % 3) + 1, 2 * Index(i % 3) + 1});
  psa.fc1 = {fill<2>({1, 2}), fill<1>({1})};
  psa.fc2 = {fill<2>({2, 1}), fill<1>({2})};
  check_gradients([&](auto&, const auto& v) { return psa(v); }, x, psa);
}
