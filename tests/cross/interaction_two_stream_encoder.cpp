// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/interaction_two_stream_encoder.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE(
    "interaction_two_stream_encoder: what a mask hides moves nothing else; without joint layers streams are apart") {
  using Encoder = heed::InteractionTwoStreamEncoder<double>;
  const auto filled = [](Index joint) {
    Encoder encode(
        {.num_heads = 2, .num_image_heads = 3, .num_joint_layers = joint, .num_text_layers = 1, .num_image_layers = 2});
    for (auto* layers : {&encode.joint, &encode.text, &encode.image})
      for (auto& layer : *layers) {
        heed::test::fill_projections(layer.attention, 6, 6, 6);
        layer.norm1 = fresh_norm(6);
        layer.norm2 = fresh_norm(6);
        layer.ffn = fresh_mlp(6, 7, 6);
      }
    return encode;
  };
  const auto image = fresh<3>({2, 3, 6});
  auto text = fresh<3>({2, 5, 6});
  Tensor<std::uint8_t, 2> image_mask(2, 3), text_mask(2, 5);
  image_mask.setConstant(1);
  text_mask.setConstant(1);
  text_mask(1, 4) = 0;
  const auto encode = filled(1);
  const auto before = encode(image, text, image_mask, text_mask);
  text.chip(1, 0).chip(4, 0).setConstant(7);
  const auto after = encode(image, text, image_mask, text_mask);
  CHECK(error_of(after.image_out, before.image_out) == 0);
  for (Index i = 0; i < 5; ++i) CHECK((after.text_out(1, i, 0) == before.text_out(1, i, 0)) == (i != 4));
  text(1, 0, 0) += 1;
  CHECK(error_of(encode(image, text, image_mask, text_mask).image_out, before.image_out) > 1e-9);

  const auto apart = filled(0);
  const auto first = apart(image, text, image_mask, text_mask);
  text(1, 0, 0) += 1;
  CHECK(error_of(apart(image, text, image_mask, text_mask).image_out, first.image_out) == 0);
  CHECK_THROWS_AS(Encoder({.num_joint_layers = -1}), heed::Error);
}
