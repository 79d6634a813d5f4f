// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/phase_aware_guidance.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("phase_aware_guidance: scales of 1 give the full prediction, dynamic ones fall from all to half") {
  const auto a = fresh<3>({2, 3, 17}), b = fresh<3>({2, 3, 17}), c = fresh<3>({2, 3, 17});
  heed::PhaseAwareGuidance guide{{.num_steps = 10, .guidance_scale = 1, .audio_guidance_scale = 1}};
  CHECK(error_of(guide(3, a, b, c), c) < 1e-14);
  const auto mix = [&](double g, double w) { return Tensor<double, 3>(a + g * (b - a) + w * (c - b)); };
  guide.options = {.num_steps = 1000000, .guidance_scale = 5, .audio_guidance_scale = 3, .dynamic_text = true};
  CHECK(error_of(guide(0, a, b, c), mix(5, 3)) < 1e-13);
  CHECK(error_of(guide(999999, a, b, c), mix(2.5, 3)) < 1e-13);
  CHECK_THROWS_WITH(guide(-1, a, b, c), heed::test::contains("step must be in 0"));
  CHECK_THROWS_AS(guide(0, a, b, fresh<3>({2, 3, 16})), heed::Error);
}
