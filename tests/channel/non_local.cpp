// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/non_local.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/max_pool.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

heed::NonLocal<double> random_non_local() {
  heed::NonLocal<double> op;
  for (auto* layer : {&op.q, &op.k, &op.v}) *layer = {fill<2>({3, 5}), fill<1>({3})};
  op.out = {fill<2>({5, 3}), fill<1>({5})};
  op.concat_weight = fill<1>({6});
  return op;
}

}  // namespace

TEST_CASE("non_local in all its modes") {
  using Mode = heed::NonLocal<double>::Mode;
  auto x = random_tensor<double, 4>({2, 5, 3, 5}, 1);
  for (const Mode mode : {Mode::kEmbeddedGaussian, Mode::kGaussian, Mode::kDotProduct, Mode::kConcatenation}) {
    auto op = random_non_local();
    op.options = {.mode = mode, .sub_sample = mode != Mode::kDotProduct, .use_scale = mode != Mode::kGaussian};
    if (mode != Mode::kConcatenation) op.concat_weight = {};
    if (mode == Mode::kDotProduct) op.out_bn = heed::test::random_batch_norm(5);
    check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  }
}

TEST_CASE("non_local of one frame is that of a map, and frames are pooled one by one") {
  auto op = random_non_local();
  op.concat_weight = {};
  const auto x = random_tensor<double, 4>({1, 5, 3, 4}, 1);
  const Tensor<double, 5> volume = x.reshape(Eigen::array<Index, 5>{1, 5, 1, 3, 4});
  CHECK(op(volume)(0, 4, 0, 2, 3) == op(x)(0, 4, 2, 3));
  // Frames of three rows: the third is dropped of each, so that the keys are those of the same frames of two rows.
  const Tensor<double, 5> two = volume.broadcast(Eigen::array<Index, 5>{1, 1, 2, 1, 1});
  CHECK(op(two)(0, 2, 1, 1, 1) == Approx(op(x)(0, 2, 1, 1)));
  CHECK_THROWS_AS(op(Tensor<double, 4>(1, 5, 1, 4)), heed::Error);
  op.options.sub_sample = false;
  const Tensor<double, 4> thin = op(random_tensor<double, 4>({1, 5, 1, 1}, 3));
  CHECK(std::isfinite(thin(0, 0, 0, 0)));
}
