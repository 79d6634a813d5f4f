// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/inter_scale_interaction.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("inter_scale_interaction: what its gate leaves, gradients, errors") {
  heed::InterScaleInteraction<double> op;
  op.in = {fill<2>({2, 5}), fill<1>({2})};
  op.mix = {fill<2>({2, 2}), fill<1>({2})};
  op.out = {fill<2>({2, 2}), {}};
  op.local = {fill<4>({2, 1, 5, 5}), fill<1>({2})};
  op.dilated = {fill<4>({2, 1, 3, 3}), fill<1>({2})};
  auto enc = random_tensor<double, 4>({1, 3, 4, 3}, 1), dec = random_tensor<double, 4>({1, 2, 4, 3}, 2);
  heed::test::check_gradients([&](auto&, const auto& e, const auto& d) { return op(e, d); }, enc, dec, op);
  CHECK_THROWS_AS(op(enc, random_tensor<double, 4>({1, 2, 3, 3}, 2)), heed::Error);

  // A closed gate: the joined features pass.
  op.mix.weight.setZero();
  op.mix.bias.setZero();
  const auto joined = op.in(heed::concat<1>(enc, dec));
  CHECK(heed::test::error_of(op(enc, dec), joined) < 1e-15);
  op.options.dilation = 0;
  CHECK_THROWS_AS(op(enc, dec), heed::Error);
}
