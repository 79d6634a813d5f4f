// SPDX-License-Identifier: Apache-2.0
#include "heed/self/keypoint_key_sampling.hpp"

#include <limits>

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/bilinear_sample.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/gather.hpp"
#include "heed/autodiff/pointwise.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::KeypointKeySampling;
using heed::KeypointLevel;
using heed::Tensor;
using heed::test::random_tensor;

namespace {

using View = heed::View<const float, 4>;

Tensor<float, 4> zeros(Index batch, Index channels, Index height, Index width) {
  Tensor<float, 4> x(batch, channels, height, width);
  x.setZero();
  return x;
}

}  // namespace

TEST_CASE("keypoint_key_sampling: peaks of two levels, the best first") {
  auto logits0 = zeros(1, 2, 3, 4), logits1 = zeros(1, 2, 1, 2);
  logits0.setConstant(-20);
  logits1.setConstant(-20);
  logits0(0, 0, 1, 2) = 2;  // a peak
  logits0(0, 0, 0, 1) = 1;  // beside it
  logits0(0, 1, 1, 2) = 3;  // the same place in another class
  logits1(0, 0, 0, 1) = 2;  // as good as the first, on a later level
  auto offsets0 = zeros(1, 2, 3, 4), offsets1 = zeros(1, 2, 1, 2);
  offsets0(0, 0, 1, 2) = 0.25f;
  offsets1(0, 1, 0, 1) = -0.5f;
  const auto features0 = random_tensor<float, 4>({1, 3, 3, 4}, 1), features1 = random_tensor<float, 4>({1, 3, 1, 2}, 2);
  const std::vector<KeypointLevel<View>> levels{{logits0, offsets0, features0}, {logits1, offsets1, features1}};
  KeypointKeySampling sample{{.strides = {8, 17}, .top_k = 3}};
  const auto keys = sample(levels);
  REQUIRE(heed::const_view(keys.features).sizes == std::array<Index, 3>{1, 3, 3});
  const float x[] = {2 * 8 + 4 + 2, 2 * 8 + 4 + 2, 17 + 8}, y[] = {8 + 4, 8 + 4, 8 - 8.5f}, logit[] = {3, 2, 2};
  for (Index i = 0; i < 3; ++i) {
    CHECK(keys.positions(0, i, 0) == x[i]);
    CHECK(keys.positions(0, i, 1) == y[i]);
    CHECK(double(keys.scores(0, i)) == Approx(1 / (1 + std::exp(-double(logit[i])))));
    for (Index c = 0; c < 3; ++c)
      CHECK(keys.features(0, i, c) == (i < 2 ? features0(0, c, 1, 2) : features1(0, c, 0, 1)));
  }

  // At 22 of 32 and 12 of 24 pixels: between cells 2 and 3 of 4, in the middle of row 1 of 3.
  sample.options.selection = heed::KeypointSelection::kInterpolation;
  const auto between = sample(levels);
  CHECK(double(between.features(0, 0, 2)) == Approx(0.75 * features0(0, 2, 1, 2) + 0.25 * features0(0, 2, 1, 3)));

  sample.options.top_k = 50;
  sample.options.max_keypoints = 5;
  CHECK(sample(levels).scores.dimension(1) == 5 + 2);
}

TEST_CASE("keypoint_key_sampling: without peaks the first places fill up; errors") {
  auto logits = zeros(1, 1, 1, 3);
  logits(0, 0, 0, 1) = 1;
  const auto offsets = zeros(1, 2, 1, 3), features = random_tensor<float, 4>({1, 4, 1, 3}, 1);
  const std::vector<KeypointLevel<View>> levels{{logits, offsets, features}};
  KeypointKeySampling sample{{.strides = {2}, .max_keypoints = 3}};
  const auto keys = sample(levels);
  const float x[] = {3, 1, 5};
  for (Index i = 0; i < 3; ++i) CHECK(keys.positions(0, i, 0) == x[i]);
  CHECK(keys.scores(0, 2) == 0);
  logits(0, 0, 0, 1) = std::numeric_limits<float>::quiet_NaN();  // never taken
  CHECK(sample(levels).scores(0, 2) == 0);
  sample.options.nms_kernel_size = 2;
  CHECK_THROWS_WITH(sample(levels), "keypoint_key_sampling: nms_kernel_size must be odd, got 2");
  sample.options = {.strides = {2, 4}};
  CHECK_THROWS_AS(sample(levels), heed::Error);
  sample.options = {.strides = {2}};
  CHECK_THROWS_AS(sample(std::vector<KeypointLevel<View>>{{logits, features, offsets}}), heed::Error);
}

TEST_CASE("Gradients of keypoint_key_sampling") {
  auto logits0 = random_tensor<double, 4>({2, 2, 4, 3}, 1), offsets0 = random_tensor<double, 4>({2, 2, 4, 3}, 2, 0.2);
  auto features0 = random_tensor<double, 4>({2, 3, 4, 3}, 3), logits1 = random_tensor<double, 4>({2, 1, 2, 2}, 4);
  auto offsets1 = random_tensor<double, 4>({2, 2, 2, 2}, 5, 0.2), features1 = random_tensor<double, 4>({2, 3, 2, 2}, 6);
  for (const auto selection : {heed::KeypointSelection::kIndex, heed::KeypointSelection::kInterpolation}) {
    const KeypointKeySampling sample{{.strides = {4, 8}, .top_k = 3, .selection = selection}};
    heed::test::check_gradients(
        [&](auto&, const auto& l0, const auto& o0, const auto& f0, const auto& l1, const auto& o1, const auto& f1) {
          const auto keys = sample(std::vector<KeypointLevel<heed::Var<double, 4>>>{{l0, o0, f0}, {l1, o1, f1}});
          return std::make_tuple(keys.features, keys.positions, keys.scores);
        },
        logits0, offsets0, features0, logits1, offsets1, features1);
  }
}
