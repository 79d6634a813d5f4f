// SPDX-License-Identifier: Apache-2.0
#include "heed/self/two_stage_target_attention.hpp"

#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/gather.hpp"
#include "heed/autodiff/masked_fill.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/softmax.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::TwoStageTargetAttention;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("two_stage_target_attention: with as many as there are it is target_attention, and features go with it") {
  const auto query = random_tensor<double, 2>({2, 6}, 1), target = random_tensor<double, 2>({2, 5}, 4);
  const auto key = random_tensor<double, 3>({2, 9, 6}, 2), value = random_tensor<double, 3>({2, 9, 5}, 3);
  const auto mask = heed::test::random_mask<2>({2, 9}, 5, 0.7);
  const TwoStageTargetAttention attend{{.top_k = 9, .time_dim = 2}};
  const auto got = attend(query, key, value, target, {.mask = mask});
  const heed::TargetAttention<double> dense{{.time_dim = 2}};
  CHECK(error_of(got.out, dense(query, key, value, {.mask = heed::const_view(mask)}).out) < 1e-13);
  for (Index b = 0; b < 2; ++b) {
    Index place = 0;
    for (Index j = 0; j < 9; ++j)
      if (mask(b, j) != 0) CHECK(got.indices(b, place++) == j);
    while (place < 9) CHECK(got.indices(b, place++) == -1);
    for (Index d = 0; d < 5; ++d) {
      CHECK(got.features(b, d) == target(b, d));
      CHECK(got.features(b, 5 + d) == got.out(b, d));
      CHECK(got.features(b, 10 + d) == target(b, d) * got.out(b, d));
    }
  }
}

TEST_CASE("two_stage_target_attention chooses the best, the earlier of equal ones, and only those") {
  Tensor<float, 2> query(1, 1), target(1, 1);
  Tensor<float, 3> key(1, 6, 1), value(1, 6, 1);
  query.setConstant(1);
  target.setConstant(2);
  key.setValues({{{1}, {3}, {2}, {2}, {9}, {2}}});
  value.setValues({{{10}, {20}, {30}, {40}, {float(heed::test::kNaN)}, {60}}});
  Tensor<std::uint8_t, 2> mask(1, 6);
  mask.setConstant(1);
  mask(0, 4) = 0;
  const auto got = TwoStageTargetAttention{{.top_k = 2}}(query, key, value, target, {.mask = mask});
  CHECK(got.indices(0, 0) == 1);
  CHECK(got.indices(0, 1) == 2);
  const double e = std::exp(-1.0);
  CHECK(double(got.out(0, 0)) == Approx((20 + 30 * e) / (1 + e)));
  CHECK(got.features(0, 2) == 2 * got.out(0, 0));
}

TEST_CASE("two_stage_target_attention: none visible, more asked for than there are, and no behaviours") {
  const auto query = random_tensor<float, 2>({2, 4}, 1), target = random_tensor<float, 2>({2, 3}, 4);
  const auto key = random_tensor<float, 3>({2, 5, 4}, 2), value = random_tensor<float, 3>({2, 5, 3}, 3);
  Tensor<std::uint8_t, 2> mask(2, 5);
  mask.setZero();
  const TwoStageTargetAttention attend;
  const auto hidden = attend(query, key, value, target, {.mask = mask});
  CHECK(hidden.indices.dimension(1) == 20);
  for (Index i = 0; i < hidden.indices.size(); ++i) CHECK(hidden.indices.data()[i] == -1);
  for (Index i = 0; i < hidden.out.size(); ++i) CHECK(hidden.out.data()[i] == 0);
  const auto none = attend(query, Tensor<float, 3>(2, 0, 4), Tensor<float, 3>(2, 0, 3), target);
  for (Index i = 0; i < none.out.size(); ++i) CHECK(none.out.data()[i] == 0);
  CHECK_THROWS_AS((TwoStageTargetAttention{{.top_k = 0}}(query, key, value, target)), heed::Error);
  CHECK_THROWS_AS(attend(query, key, value, query), heed::Error);
}

TEST_CASE("Gradients of two_stage_target_attention") {
  auto query = random_tensor<double, 2>({2, 3}, 1), target = random_tensor<double, 2>({2, 2}, 4);
  auto key = random_tensor<double, 3>({2, 6, 3}, 2), value = random_tensor<double, 3>({2, 6, 2}, 3);
  Tensor<std::uint8_t, 2> mask(2, 6);
  mask.setConstant(1);
  mask(0, 2) = 0;
  for (Index j = 2; j < 6; ++j) mask(1, j) = 0;
  const TwoStageTargetAttention attend{{.top_k = 3, .time_dim = 1}};
  check_gradients(
      [&](auto&, const auto& q, const auto& k, const auto& v, const auto& t) {
        const auto r = attend(q, k, v, t, {.mask = mask});
        return std::make_tuple(r.out, r.features);
      },
      query, key, value, target);
}
