// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/bi_level_routing_attention.hpp"

#include "catch.hpp"
#include "heed/sparse/attention_lepe.hpp"
#include "heed/sparse/bi_level_routing_attention_nchw.hpp"
#include "support/self_attention.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("bi_level_routing_attention to all regions is full attention") {
  const auto x = random_tensor<float, 4>({2, 6, 4, 8}, 1);
  AttentionLepe<float> full{{.num_heads = 2, .lepe_on = LepeOn::kValue, .scale = 0.4}};
  full.qkv = random_linear<float>(24, 8, true, 2);
  full.out = random_linear<float>(8, 8, true, 3);
  full.lepe = {random_tensor<float, 4>({8, 1, 3, 3}, 4), random_tensor<float, 1>({8}, 5)};
  const auto want = full(x);

  BiLevelRoutingAttention<float> attend{{.num_heads = 2, .n_win = 2, .top_k = 9, .scale = 0.4}};
  attend.qkv = full.qkv;
  attend.out = full.out;
  attend.lepe = full.lepe;
  const auto [out, route_index] = attend(x);
  CHECK(error_of(out, want) < 3e-6);
  check_threads([&](const heed::DeviceRef& device) { return attend(device, x).out; });
  CHECK(const_view(route_index).sizes == std::array<Index, 3>{2, 4, 4});
  attend.options.kv_downsample = RegionPool::kMax;
  attend.options.kv_downsample_ratio = 1;
  CHECK(error_of(attend(x).out, want) < 3e-6);
  attend.options.n_win = 4;
  CHECK_THROWS_AS(attend(x), Error);
  attend.options.auto_pad = true;
  CHECK(attend(x).out.dimension(1) == 6);

  // Of one region r is 1, so that soft routing changes nothing.
  attend.options = {.num_heads = 2, .n_win = 2, .top_k = 1, .scale = 0.4};
  const auto hard = attend(x).out;
  attend.options.soft_routing = true;
  CHECK(error_of(attend(x).out, hard) < 3e-6);
  attend.options.diff_routing = true;
  CHECK(error_of(attend(x).out, hard) < 3e-6);
  // With equal scores r is even.
  attend.options.top_k = 4;
  attend.options.param_routing = true;
  attend.router = {random_tensor<float, 2>({8, 8}, 6, 0), {}};
  auto quarter = full;
  quarter.options.scale = 0.4 / 4;
  attend.options.kernel_size = 0;
  quarter.lepe.weight.setZero();
  quarter.lepe.bias.setZero();
  quarter.out.bias.setZero();
  attend.out.bias.setZero();
  const auto soft = attend(x).out;
  CHECK(error_of(Tensor<float, 4>(soft * 4.f), quarter(x)) < 3e-6);
}

TEST_CASE("bi_level_routing_attention_nchw: partial regions see zeros beyond the map") {
  const auto x = random_tensor<float, 4>({1, 4, 6, 6}, 1);
  AttentionLepe<float> full{{.num_heads = 2, .lepe_on = LepeOn::kValue, .scale = 0.5}};
  full.qkv = random_linear<float>(12, 4, true, 2);
  full.out = random_linear<float>(4, 4, true, 3);
  full.lepe = {random_tensor<float, 4>({4, 1, 3, 3}, 4), {}};
  BiLevelRoutingAttentionNchw<float> attend{{.num_heads = 2, .n_win = 3, .scale = 0.5, .top_k = 9}};
  attend.qkv = full.qkv;
  attend.out = full.out;
  attend.lepe = full.lepe;
  const auto want = full(Tensor<float, 4>(x.shuffle(Eigen::array<int, 4>{0, 2, 3, 1})));
  CHECK(error_of(view(attend(x)).permute({0, 2, 3, 1}), want) < 3e-6);

  // 7 x 5 by 3: regions of 2 x 1, 4 x 5 of them, a row of zeros at the bottom.
  const auto odd = random_tensor<float, 4>({1, 4, 7, 5}, 5);
  CHECK(const_view(attend(odd)).sizes == std::array<Index, 4>{1, 4, 7, 5});
  attend.options.n_win = 6;
  CHECK_THROWS_AS(attend(odd), Error);
}
