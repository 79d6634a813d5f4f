// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/sequential_modality_fusion.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

namespace {

heed::SequentialModalityFusion<double> fusion() {
  heed::SequentialModalityFusion<double> fuse({.hidden = {{7}, {}}, .num_decoders = 2});
  fuse.init_state = fresh<2>({1, 4});
  fuse.encoder[0].fc = {fresh_linear(7, 3), fresh_linear(4, 11)};
  fuse.encoder[1].fc = {fresh_linear(4, 9)};
  for (auto& head : fuse.decoder) head = fresh_linear(2, 4);
  return fuse;
}

}  // namespace

TEST_CASE("sequential_modality_fusion: a missing modality leaves the state and is not read") {
  const auto fuse = fusion();
  const auto x0 = fresh<2>({3, 3});
  auto x1 = fresh<2>({3, 5});
  const auto all = fuse(std::vector{x0, x1});
  x1.setConstant(heed::test::kNaN);
  const auto first = fuse(std::vector{x0, x1}, {.present = {true, false}});
  for (Index b = 0; b < 3; ++b)
    for (Index s = 0; s < 4; ++s) {
      CHECK(first.states(1, b, s) == all.states(1, b, s));
      CHECK(first.states(2, b, s) == all.states(1, b, s));
      CHECK(all.states(0, b, s) == fuse.init_state(0, s));
    }
  for (Index d = 0; d < 2; ++d) {
    double z = fuse.decoder[std::size_t(d)].bias(1);
    for (Index s = 0; s < 4; ++s) z += fuse.decoder[std::size_t(d)].weight(1, s) * all.states(2, 1, s);
    CHECK(all.predictions(2, d, 1, 1) == Approx(1 / (1 + std::exp(-z))));
  }
}

TEST_CASE("sequential_modality_fusion refuses what does not fit, by name") {
  auto fuse = fusion();
  const auto x0 = fresh<2>({3, 3}), x1 = fresh<2>({3, 5});
  CHECK_THROWS_WITH(fuse(std::vector{x0}), heed::test::contains("one input for each of 2 encoders"));
  CHECK_THROWS_WITH(fuse(std::vector{x0, x1}, {.present = {true}}), heed::test::contains("present"));
  CHECK_THROWS_WITH(fuse(std::vector{x1, x0}), heed::test::contains("encoder0.fc1.weight"));
}
