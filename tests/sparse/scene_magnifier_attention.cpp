// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/scene_magnifier_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

namespace {

heed::Linear<float> layer(unsigned seed) { return {random_tensor<float, 2>({8, 8}, seed, 0.4), {}}; }

double difference(const Tensor<float, 3>& a, const Tensor<float, 3>& b, Index i) {
  double worst = 0;
  for (Index c = 0; c < a.dimension(2); ++c) worst = std::max(worst, std::abs(double(a(0, i, c)) - double(b(0, i, c))));
  return worst;
}

}  // namespace

TEST_CASE("dense_token_select repeats the flags of coarse tokens") {
  Tensor<float, 4> x(1, 2, 2, 4);
  x.setZero();
  x(0, 0, 1, 1) = 0.5f;
  x(0, 1, 1, 2) = 0.1f;
  const heed::DenseTokenSelect select{{.query_start = 0, .scene_start = 1, .num_scene = 3, .dense_per_scene = 2}};
  const auto mask = select(x);
  for (Index j = 0; j < 6; ++j) {
    CHECK(int(mask(0, 0, j)) == 0);
    CHECK(int(mask(0, 1, j)) == (j < 2));
  }
  CHECK(int(heed::DenseTokenSelect{{.query_start = 2, .num_scene = 3}}(x)(0, 1, 4)) == 0);
  CHECK_THROWS_AS((heed::DenseTokenSelect{{.scene_start = 2, .num_scene = 3}}(x)), heed::Error);
}

TEST_CASE("scene_magnifier_attention touches only the rows that are magnified") {
  heed::SceneMagnifierAttention<float> attend{{.num_heads = 2, .scene_start = 1, .num_scene = 3, .dense_per_scene = 2},
                                              layer(1),
                                              layer(2),
                                              layer(3),
                                              layer(4),
                                              layer(5),
                                              layer(6)};
  const auto x = random_tensor<float, 3>({1, 7, 8}, 7), fine = random_tensor<float, 3>({1, 6, 8}, 8);
  Tensor<std::int32_t, 1> start(1), end(1);
  start(0) = 4, end(0) = 5;
  Tensor<std::uint8_t, 3> mask(1, 7, 6);
  mask.setConstant(1);
  const auto base = attend(x, start);
  const auto full = attend(x, fine, mask, start, end);
  for (Index i = 0; i < 7; ++i) CHECK((difference(base.out, full.out, i) > 1e-3) == (i == 4 || i == 5));
  attend.options.alpha = 0.25;
  const auto some = attend(x, fine, mask, start, end);
  for (Index c = 0; c < 8; ++c)
    CHECK(some.out(0, 4, c) ==
          Approx(0.75 * double(base.out(0, 4, c)) + 0.25 * double(full.out(0, 4, c))).margin(1e-5));
  for (Index i = 0; i < full.next_select_mask.size(); ++i)
    CHECK(full.next_select_mask.data()[i] == base.next_select_mask.data()[i]);
  mask.setZero();
  attend.options.alpha = 1;
  const auto none = attend(x, fine, mask, start, end);
  for (Index i = 0; i < 7; ++i) CHECK(difference(base.out, none.out, i) < 1e-6);
  CHECK_THROWS_AS(attend(x, x, mask, start, end), heed::Error);
}
