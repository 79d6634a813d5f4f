// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/query_former_layer.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

heed::QueryFormerLayer<double> layer(Index c, Index image) {
  heed::QueryFormerLayer<double> result{{.num_heads = 2}};
  fill_projections(result.self, c, c, c);
  fill_projections(result.cross, c, c, image);
  result.self.norm = fresh_norm(c);
  result.cross.norm = fresh_norm(c);
  result.ffn_query = {fresh_mlp(c, 5, c), fresh_norm(c)};
  result.ffn_text = {fresh_mlp(c, 5, c), fresh_norm(c)};
  return result;
}

template <class Attention>
Tensor<double, 3> sublayer(const Attention& part, const Tensor<double, 3>& x, const Tensor<double, 3>& y,
                           const NaiveAttention& naive) {
  const Tensor<double, 3> o = apply(part.out, mixed(apply(part.q, x), apply(part.k, y), apply(part.v, y), 2, naive));
  return heed::layer_norm(Tensor<double, 3>(x + o), part.norm.weight, part.norm.bias, 1e-12);
}
template <class FeedForward>
Tensor<double, 3> fed(const FeedForward& part, const Tensor<double, 3>& z) {
  const Tensor<double, 3> inner = part.mlp(heed::DeviceRef(), heed::Gelu(), z);
  return heed::layer_norm(Tensor<double, 3>(z + inner), part.norm.weight, part.norm.bias, 1e-12);
}

}  // namespace

TEST_CASE("query_former_layer is its definition, with and without text, image and masks") {
  for (const Index text : {0, 1, 17})
    for (const bool cross : {false, true}) {
      CAPTURE(text, cross);
      auto op = layer(4, 3);
      op.options.cross_attention = cross;
      const auto q = fresh<3>({2, 3, 4}), t = fresh<3>({2, text, 4}), image = fresh<3>({2, 5, 3});
      const auto self_mask = random_mask<2>({2, 3 + text}, 1, 0.5), image_mask = random_mask<2>({2, 5}, 2, 0.5);
      NaiveAttention of_self, of_image;
      of_self.visible = [&](Index b, Index, Index, Index j) { return self_mask(b, j) != 0; };
      of_image.visible = [&](Index b, Index, Index, Index j) { return image_mask(b, j) != 0; };
      const auto all = heed::concat<1>(q, t);
      const auto z = sublayer(op.self, all, all, of_self);
      Tensor<double, 3> zq = heed::contiguous(heed::view(z).slice(1, 0, 3));
      if (cross) zq = sublayer(op.cross, zq, image, of_image);
      const auto got =
          op(q, t, image, {.self_mask = heed::const_view(self_mask), .image_mask = heed::const_view(image_mask)});
      CHECK(error_of(got.query_out, fed(op.ffn_query, zq)) < 1e-11);
      CHECK(error_of(got.text_out, fed(op.ffn_text, heed::contiguous(heed::view(z).slice(1, 3, text)))) < 1e-11);
      CHECK_THROWS_AS(op(q, t, image, {.self_mask = heed::const_view(image_mask)}), heed::Error);
    }
}
