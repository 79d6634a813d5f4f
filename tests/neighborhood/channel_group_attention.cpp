// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/channel_group_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::random_tensor;

TEST_CASE("channel_group_attention: channels are tokens, positions their features") {
  for (const Index tokens : {1, 3, 17}) {
    const Index channels = 6, groups = 2, width = 3;
    heed::ChannelGroupAttention<float> attend{{.groups = groups, .scale = 0.3}};
    attend.qkv.weight = random_tensor<float, 2>({3 * channels, channels}, 1);
    attend.qkv.bias = random_tensor<float, 1>({3 * channels}, 2);
    attend.out.weight.resize(channels, channels);
    for (Index c = 0; c < channels; ++c)
      for (Index d = 0; d < channels; ++d) attend.out.weight(c, d) = float(c == d);
    const auto x = random_tensor<float, 3>({2, tokens, channels}, 3);
    const auto packed = attend.qkv(x);
    // The channels of k ask those of v and mix those of q.
    const auto part = [&](Index which) {
      return heed::const_view(packed).slice(2, which * channels, channels).split(2, width).permute({0, 2, 3, 1});
    };
    heed::test::NaiveAttention naive;
    naive.scale = 0.3;
    const auto want = naive(part(1), part(2), part(0)).out;  // (B, groups, D, N)
    const auto got = attend(x);
    double worst = 0;
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < tokens; ++i)
        for (Index c = 0; c < channels; ++c)
          worst = std::max(worst, std::abs(double(got(b, i, c)) - want(b, c / width, c % width, i)));
    CHECK(worst < 1e-5);
    check_threads([&](const heed::DeviceRef& device) { return attend(device, x); });
  }
}

TEST_CASE("channel_group_attention: errors") {
  heed::ChannelGroupAttention<float> attend{{.groups = 3}};
  const auto x = random_tensor<float, 3>({1, 2, 4}, 1);
  CHECK_THROWS_WITH(attend(x), "channel_group_attention: the channels of x, 4, must be a multiple of groups, 3");
  attend.options.groups = 2;
  CHECK_THROWS_WITH(attend(x), "channel_group_attention: qkv.weight must have shape (12, 4), got (0, 0)");
}
