// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/cross_modality_attention_inhibition.hpp"

#include "catch.hpp"
#include "heed/sparse/mixed_modal_attention.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("cross_modality_attention_inhibition hides the least focus of each text row") {
  const auto q = random_tensor<float, 4>({2, 2, 6, 4}, 1), k = random_tensor<float, 4>({2, 2, 6, 4}, 2);
  const auto v = random_tensor<float, 4>({2, 2, 6, 3}, 3);
  Tensor<std::uint8_t, 1> image(6);
  image.setValues({1, 1, 1, 0, 1, 0});
  const auto half = heed::CrossModalityAttentionInhibition{{.inhibit_ratio = 0.5}}(q, k, v, image);
  CHECK(half.focus.dimension(1) == 2);
  CHECK(half.focus(0, 0, 3) == 0);  // an image token behind the text
  for (Index b = 0; b < 2; ++b)
    for (Index t = 0; t < 2; ++t) {
      int hidden = 0;
      for (Index i = 0; i < 4; ++i) hidden += half.inhibited(b, t, i);
      CHECK(hidden == 2);
    }
  const auto none = heed::CrossModalityAttentionInhibition{{.inhibit_ratio = 0}}(q, k, v, image);
  for (Index i = 0; i < 6; ++i) {
    const double moved = std::abs(double(none.out(0, 0, i, 0)) - double(half.out(0, 0, i, 0)));
    if (image(i) != 0) CHECK(moved < 1e-6);
  }
  image.setConstant(1);
  CHECK(heed::CrossModalityAttentionInhibition()(q, k, v, image).focus.size() == 0);
  CHECK_THROWS_AS((heed::CrossModalityAttentionInhibition{{.inhibit_ratio = 2}}(q, k, v, image)), heed::Error);
}

TEST_CASE("mixed_modal_attention of text alone is causal, of images alone is not") {
  const auto q = random_tensor<float, 4>({1, 2, 5, 4}, 1), k = random_tensor<float, 4>({1, 2, 5, 4}, 2);
  auto v = random_tensor<float, 4>({1, 2, 5, 3}, 3);
  Tensor<std::uint8_t, 2> visual(1, 5);
  visual.setValues({{1, 0, 1, 0, 0}});
  const heed::MixedModalAttention attend;
  const Tensor<float, 4> before = attend(q, k, v, visual);
  v(0, 0, 2, 0) += 1;
  const Tensor<float, 4> after = attend(q, k, v, visual);
  for (Index i = 0; i < 5; ++i) CHECK((before(0, 0, i, 0) != after(0, 0, i, 0)) == (i == 0 || i >= 2));
  CHECK_THROWS_AS(attend(q, k, v, Tensor<std::uint8_t, 2>(1, 4)), heed::Error);
}
