// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/bidirectional_cross_modal_matching.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("bidirectional_cross_modal_matching: tokens are sets, and one subject is scored as among others") {
  for (const Index heads : {1, 3, 8}) {
    using Op = heed::BidirectionalCrossModalMatching<double>;
    Op match{{.num_heads = heads, .lam = 0.4}};
    match.text = fresh_linear(6, 5);
    match.image = fresh_linear(6, 4);
    match.match = fresh_linear(6, 6);
    match.gate = fresh_linear(1, 6);
    match.norm = fresh_norm(6);
    match.head_scale = fresh<2>({heads, 1});
    using Subject = Op::Subject<Tensor<double, 2>, Tensor<double, 3>>;
    const Subject entity{fresh<2>({3, 5}), fresh<3>({3, 7, 5}), fresh<2>({3, 4}), fresh<3>({3, 2, 4})};
    const Subject mention{fresh<2>({1, 5}), fresh<3>({1, 1, 5}), fresh<2>({1, 4}), fresh<3>({1, 3, 4})};
    const auto got = match(entity, mention);
    REQUIRE(got.score_text_image.dimension(0) == 1);
    REQUIRE(got.score_image_text.dimension(1) == 3);
    auto turned = entity;
    turned.text_tokens = Tensor<double, 3>(entity.text_tokens.reverse(Eigen::array<bool, 3>{false, true, false}));
    const auto same = match(turned, mention);
    CHECK(error_of(same.score_text_image, got.score_text_image) < 1e-12);
    CHECK(error_of(same.score_image_text, got.score_image_text) < 1e-12);
    // Scores are symmetric in the two sides.
    const auto back = match(mention, entity);
    for (Index e = 0; e < 3; ++e) CHECK(back.score_image_text(e, 0) == Approx(got.score_image_text(0, e)));
    match.options.num_heads = 9;
    CHECK_THROWS_WITH(match(entity, mention), heed::test::contains("num_heads must be in 1 .. 8"));
  }
}
