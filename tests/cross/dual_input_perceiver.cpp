// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/dual_input_perceiver.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("dual_input_perceiver: latents that start equal stay equal, so that one is as many") {
  heed::DualInputPerceiver<double> read{{.num_heads = 2, .num_latents = 3}};
  heed::test::fill_projections(read.rule.attention, 6, 6, 5);
  heed::test::fill_projections(read.stim.attention, 6, 6, 5);
  heed::test::fill_projections(read.latent.attention, 6, 6, 6);
  for (auto* part : {&read.rule, &read.stim, &read.latent}) {
    part->ffn = fresh_linear(6, 6);
    part->norm = fresh_norm(6);
  }
  const auto rule = fresh<3>({2, 3, 5}), stim = fresh<3>({2, 17, 5});
  const auto got = read(rule, stim);
  for (Index b = 0; b < 2; ++b)
    for (Index l = 1; l < 3; ++l)
      for (Index c = 0; c < 6; ++c) CHECK(got(b, l, c) == Approx(got(b, 0, c)).margin(1e-13));
  read.options.num_latents = 1;
  const auto one = read(rule, stim);
  for (Index c = 0; c < 6; ++c) CHECK(one(1, 0, c) == Approx(got(1, 2, c)).margin(1e-13));
  read.options.num_latents = 0;
  CHECK_THROWS_WITH(read(rule, stim), "dual_input_perceiver: num_latents must be 1 or more, got 0");
}
