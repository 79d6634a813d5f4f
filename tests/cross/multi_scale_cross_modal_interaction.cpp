// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/multi_scale_cross_modal_interaction.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

namespace {

heed::MultiScaleCrossModalInteraction<double> interaction(Index cv, Index cl, Index k) {
  heed::MultiScaleCrossModalInteraction<double> x;
  for (Index i = 0; i < 3; ++i) {
    const Index n = x.kVisualWindows[std::size_t(i)], m = x.kTextWindows[std::size_t(i)], part = k >> i, phrase = k / m;
    x.visual[std::size_t(i)] = {fresh_linear(part, cv), fresh_linear(k, part * n * n), fresh_linear(k, cl)};
    x.text[std::size_t(i)] = {fresh_linear(phrase, cl), fresh_linear(cl, phrase * m), fresh_linear(cl, cv)};
  }
  x.v = fresh_linear(cv, cl);
  x.v_visual = fresh_linear(cl, cv);
  x.out = fresh_linear(cv, cv);
  x.out_text = fresh_linear(cl, cl);
  x.visual_mix = fresh<1>({3});
  x.text_mix = fresh<1>({3});
  return x;
}

}  // namespace

TEST_CASE("multi_scale_cross_modal_interaction: padding is not read, one mixture weight leaves one scale") {
  auto op = interaction(8, 6, 12);
  const auto image = fresh<3>({2, 9, 8});
  auto words = fresh<3>({2, 4, 6});
  Tensor<std::uint8_t, 2> mask(2, 4);
  mask.setConstant(1);
  mask(1, 3) = 0;
  const auto before = op(image, words, mask);
  words(1, 3, 2) += 1;
  const auto after = op(image, words, mask);
  CHECK(error_of(after.visual_out, before.visual_out) < 1e-12);
  // A padded word has no query: it reads the mean of the image, whatever it was.
  for (Index c = 0; c < 6; ++c) CHECK(after.text_out(1, 3, c) == Approx(before.text_out(1, 3, c)));

  op.visual_mix.setValues({0, -1e30, -1e30});
  op.text_mix.setValues({0, -1e30, -1e30});
  const auto single = op(image, words, mask);
  op.visual[1] = op.visual[2] = {};
  op.visual[1] = {fresh_linear(6, 8), fresh_linear(12, 54), fresh_linear(12, 6)};
  op.visual[2] = {fresh_linear(3, 8), fresh_linear(12, 75), fresh_linear(12, 6)};
  op.text[2] = {fresh_linear(4, 6), fresh_linear(6, 12), fresh_linear(6, 8)};
  const auto same = op(image, words, mask);
  CHECK(error_of(same.visual_out, single.visual_out) < 1e-12);
  CHECK(error_of(same.text_out, single.text_out) < 1e-12);
  CHECK_THROWS_WITH(op(fresh<3>({2, 8, 8}), words, mask), heed::test::contains("a square of positions"));
}
