// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/selective_token_mixer.hpp"

#include "heed/linear/selective_channel_mixer.hpp"
#include "support/mixers.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::kNaN;
using heed::test::random_tensor;
using heed::test::random_token_mixer;

namespace {

template <class X>
Tensor<double, 3> turned(const X& x) {
  return x.shuffle(std::array<int, 3>{0, 2, 1});
}

}  // namespace

TEST_CASE("Gradients of selective_token_mixer, in one and in both directions") {
  auto x = random_tensor<double, 3>({2, 4, 2}, 1);
  for (const bool bidirectional : {false, true}) {
    auto mix = random_token_mixer({2, 3, 2, 1, bidirectional ? 4 : 3}, bidirectional);
    check_gradients([&](auto&, const auto& v) { return mix(v); }, x, mix);
  }
}

TEST_CASE("selective_token_mixer reads no later token, and both directions alike mirror the sequence") {
  auto mix = random_token_mixer({3, 17, 4, 2, 4}, false);
  auto x = random_tensor<double, 3>({1, 9, 3}, 1);
  const auto want = mix(x);
  for (Index c = 0; c < 3; ++c) x(0, 6, c) = kNaN;
  const auto got = mix(x);
  for (Index t = 0; t < 6; ++t)
    for (Index c = 0; c < 3; ++c) CHECK(got(0, t, c) == want(0, t, c));

  auto both = random_token_mixer({3, 5, 4, 2, 3}, true);
  both.bwd = both.scan;
  for (Index e = 0; e < 5; ++e) both.conv_weight(e, 0, 2) = both.conv_weight(e, 0, 0);
  x = random_tensor<double, 3>({2, 7, 3}, 2);
  const std::array<bool, 3> along_tokens{false, true, false};
  const Tensor<double, 3> mirrored = x.reverse(along_tokens);
  const Tensor<double, 3> back = both(mirrored).reverse(along_tokens);
  CHECK(error_of(back, both(x)) < 1e-14);

  both.bwd.D = fill<1>({4});
  CHECK_THROWS_WITH(both(x), "selective_token_mixer: bwd.D must have shape (5), got (4)");
}

TEST_CASE("selective_channel_mixer is the bidirectional token mixer of the transpose") {
  heed::SelectiveChannelMixer<double> mix{random_token_mixer({5, 4, 2, 2, 3}, true)};
  const auto x = random_tensor<double, 3>({2, 5, 3}, 1);
  CHECK(error_of(mix(x), turned(mix.mixer(turned(x)))) < 1e-14);
  CHECK_THROWS_WITH(mix(random_tensor<double, 3>({2, 4, 3}, 1)),
                    "selective_token_mixer: in.weight must have shape (4, 4), got (4, 5)");

  heed::SelectiveChannelMixer<double> single{random_token_mixer({1, 2, 1, 1, 3}, true)};
  auto token = random_tensor<double, 3>({1, 1, 4}, 2);
  check_gradients([&](auto&, const auto& v) { return single(v); }, token, single);
}
