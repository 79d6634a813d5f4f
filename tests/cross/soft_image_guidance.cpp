// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/soft_image_guidance.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("soft_image_guidance combines all logits and keeps those near the largest") {
  const auto image = fresh<2>({3, 17}), soft = fresh<2>({3, 17});
  heed::SoftImageGuidance guide{{.guidance_scale = 1}};
  const auto off = guide(image, soft);
  CHECK(error_of(off.out, image) < 1e-14);
  guide.options = {.mode = heed::SoftGuidance::kContrastive, .alpha = 0.25, .beta = 0.3};
  const auto got = guide(image, soft);
  CHECK(error_of(got.out, Tensor<double, 2>(image * 1.25 - soft * 0.25)) < 1e-14);
  for (Index b = 0; b < 3; ++b) {
    double largest = image(b, 0);
    for (Index v = 0; v < 17; ++v) largest = std::max(largest, image(b, v));
    for (Index v = 0; v < 17; ++v) {
      CHECK(got.keep(b, v) == (image(b, v) >= largest + std::log(0.3)));
      CHECK(off.keep(b, v) == 1);
    }
  }
  guide.options.beta = 0;
  CHECK_THROWS_WITH(guide(image, soft), "soft_image_guidance: beta must be in (0, 1], got 0");
}
