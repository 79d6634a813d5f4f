// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/gated_cross_modal_fusion_block.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("gated_cross_modal_fusion_block: a gate of zeros leaves the image as it is") {
  heed::GatedCrossModalFusionBlock<double> fuse;
  auto& x = fuse.interaction;
  for (Index i = 0; i < 3; ++i) {
    const Index n = x.kVisualWindows[std::size_t(i)], m = x.kTextWindows[std::size_t(i)], part = 8 >> i, phrase = 8 / m;
    x.visual[std::size_t(i)] = {fresh_linear(part, 8), fresh_linear(8, part * n * n), fresh_linear(8, 6)};
    x.text[std::size_t(i)] = {fresh_linear(phrase, 6), fresh_linear(6, phrase * m), fresh_linear(6, 8)};
  }
  x.v = fresh_linear(8, 6);
  x.v_visual = fresh_linear(6, 8);
  x.out = fresh_linear(8, 8);
  x.out_text = fresh_linear(6, 6);
  x.visual_mix = fresh<1>({3});
  x.text_mix = fresh<1>({3});
  fuse.visual_project = fresh_linear(8, 8);
  fuse.project_mm = fresh_linear(8, 8);
  fuse.res_gate = fresh_mlp(8, 8, 8, false);
  fuse.text_gate = fresh_linear(6, 6);
  const auto image = fresh<3>({1, 9, 8}), words = fresh<3>({1, 4, 6});
  Tensor<std::uint8_t, 2> mask(1, 4);
  mask.setConstant(1);
  CHECK(error_of(fuse(image, words, mask).visual_out, image) > 1e-6);
  fuse.res_gate.fc2.weight.setZero();
  const auto got = fuse(image, words, mask);
  CHECK(error_of(got.visual_out, image) == 0);
  CHECK(error_of(got.text_out, words) > 1e-6);
  fuse.text_gate = fresh_linear(6, 5);
  CHECK_THROWS_WITH(fuse(image, words, mask), heed::test::contains("text_gate.weight"));
}
