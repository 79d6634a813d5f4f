// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/visual_attention.hpp"

#include "heed/neighborhood/dlkppm.hpp"
#include "heed/neighborhood/visual_attention_block.hpp"
#include "support/large_kernels.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::depthwise_layer;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_pointwise;
using heed::test::random_tensor;

namespace {

heed::VisualAttention<double> random_attention(Index channels) {
  return {random_pointwise(channels, channels),
          {{.dilation = 2},
           depthwise_layer(channels, 3, 3),
           depthwise_layer(channels, 3, 3),
           random_pointwise(channels, channels)},
          random_pointwise(channels, channels)};
}

}  // namespace

TEST_CASE("visual_attention adds its input") {
  auto x = random_tensor<double, 4>({1, 3, 3, 4}, 1);
  auto attend = random_attention(3);
  check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  attend.out.weight.setZero();
  attend.out.bias.setConstant(2);
  CHECK(error_of(attend(x), Tensor<double, 4>(x + 2.0)) == 0);
  attend.in = random_pointwise(2, 3);
  CHECK_THROWS_AS(attend(x), heed::Error);
}

TEST_CASE("visual_attention_block scales what its parts add") {
  auto x = random_tensor<double, 4>({1, 2, 3, 3}, 1);
  heed::VisualAttentionBlock<double> block{
      random_batch_norm(2), random_batch_norm(2),
      random_attention(2),  {random_pointwise(4, 2), depthwise_layer(4, 3, 3), random_pointwise(2, 4)},
      fill<1>({2}),         fill<1>({2})};
  check_gradients([&](auto&, const auto& v) { return block(v); }, x, block);
  block.layer_scale2.setZero();
  const Tensor<double, 4> attended = block.attn(block.bn1(x));
  Tensor<double, 4> want = x;
  for (Index c = 0; c < 2; ++c)
    for (Index i = 0; i < 9; ++i) want(0, c, i / 3, i % 3) += block.layer_scale1(c) * attended(0, c, i / 3, i % 3);
  CHECK(error_of(block(x), want) < 1e-15);
  block.layer_scale1 = fill<1>({3});
  CHECK_THROWS_AS(block(x), heed::Error);
}

TEST_CASE("Gradients of dlkppm, down to maps of two rows") {
  const Index channels = 3, inner = 2;
  using Pool = heed::Dlkppm<double>;
  const auto scale = [](Index out, Index in) { return Pool::Scale{random_batch_norm(in), {fill<2>({out, in}), {}}}; };
  const auto process = [&] { return Pool::Process{random_batch_norm(inner), {fill<4>({inner, inner, 3, 3}), {}}}; };
  Pool pool;
  for (auto* one : {&pool.scale0, &pool.scale1, &pool.scale2, &pool.scale4, &pool.scale5})
    *one = scale(inner, channels);
  for (auto* one : {&pool.process1, &pool.process2, &pool.process_lska, &pool.process4, &pool.process5})
    *one = process();
  pool.bn = random_batch_norm(inner);
  pool.lska = {random_pointwise(inner, inner),
               {{},
                depthwise_layer(inner, 1, 5),
                depthwise_layer(inner, 5, 1),
                depthwise_layer(inner, 1, 11),
                depthwise_layer(inner, 11, 1),
                random_pointwise(inner, inner)},
               random_pointwise(inner, inner)};
  pool.layer_scale = fill<1>({inner});
  pool.compression = scale(2, 6 * inner);
  pool.shortcut = scale(2, channels);
  auto x = random_tensor<double, 4>({1, channels, 2, 3}, 1);
  check_gradients([&](auto&, const auto& v) { return pool(v); }, x, pool);
  for (const Index size : {1, 5, 17})
    CHECK(pool(random_tensor<double, 4>({1, channels, size, 3}, 2)).dimension(2) == size);
  pool.shortcut = scale(3, channels);
  CHECK_THROWS_AS(pool(x), heed::Error);
}
