// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/pag_fusion.hpp"

#include "heed/autodiff/blend.hpp"
#include "heed/neighborhood/boundary_guided_fusion.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("pag_fusion: where the maps do not agree the fine one stays") {
  using Fusion = heed::PagFusion<double>;
  auto x = random_tensor<double, 4>({1, 2, 4, 5}, 1), y = random_tensor<double, 4>({1, 2, 2, 3}, 2);
  for (const bool with_channel : {false, true})
    for (const bool after_relu : {false, true}) {
      Fusion fuse{{.after_relu = after_relu, .with_channel = with_channel},
                  {{fill<2>({3, 2}), {}}, random_batch_norm(3)},
                  {{fill<2>({3, 2}), {}}, random_batch_norm(3)}};
      if (with_channel) fuse.up = {{fill<2>({2, 3}), {}}, random_batch_norm(2)};
      check_gradients([&](auto&, const auto& a, const auto& b) { return fuse(a, b); }, x, y, fuse);
      if (with_channel || after_relu) continue;
      // k r = -1000 at every position.
      for (auto* layer : {&fuse.x, &fuse.y}) layer->conv.weight.setZero();
      fuse.x.bn = fuse.y.bn = {fill<1>({3}), fill<1>({3}), Tensor<double, 1>(3), Tensor<double, 1>(3)};
      for (auto* norm : {&fuse.x.bn, &fuse.y.bn}) {
        norm->mean.setZero();
        norm->var.setConstant(1);
        norm->bias.setZero();
      }
      fuse.x.bn.bias(0) = 1000;
      fuse.y.bn.bias(0) = -1;
      CHECK(error_of(fuse(x, y), x) == 0);
      fuse.y.bn.bias(0) = 1;
      CHECK(error_of(fuse(x, y), heed::resize_bilinear(y, {4, 5})) == 0);
      CHECK_THROWS_AS(fuse(x, random_tensor<double, 4>({1, 3, 2, 3}, 3)), heed::Error);
    }
}

TEST_CASE("boundary_guided_fusion takes detail where there is a boundary, for all channels or for each") {
  heed::BoundaryGuidedFusion<double> fuse{{random_batch_norm(2), {fill<4>({2, 2, 3, 3}), {}}},
                                          {random_batch_norm(2), {fill<4>({2, 2, 3, 3}), {}}},
                                          {random_batch_norm(2), {fill<4>({3, 2, 3, 3}), {}}}};
  auto p = random_tensor<double, 4>({1, 2, 3, 4}, 1), i = random_tensor<double, 4>({1, 2, 3, 4}, 2);
  for (const Index channels : {1, 2}) {
    auto d = random_tensor<double, 4>({1, channels, 3, 4}, 3);
    check_gradients([&](auto&, const auto&... x) { return fuse(x...); }, p, i, d, fuse);
    d.setConstant(-1000);
    const auto same = heed::ConvOptions::same(3);
    const heed::DeviceRef device;
    const Tensor<double, 4> joint = fuse.p(device, p, same) + fuse.i(device, i, same) * 2.0;
    CHECK(error_of(fuse(p, i, d), fuse.out(device, joint, same)) < 1e-14);
  }
  CHECK_THROWS_AS(fuse(p, i, random_tensor<double, 4>({1, 3, 3, 4}, 3)), heed::Error);
}
