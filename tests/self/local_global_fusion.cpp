// SPDX-License-Identifier: Apache-2.0
#include "heed/self/local_global_fusion.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/blend.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/conv_2d.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::LocalGlobalFusion;
using heed::test::random_linear;
using heed::test::random_tensor;

namespace {

LocalGlobalFusion<double> fusion(Index c) {
  LocalGlobalFusion<double> op{{.num_heads = 2}};
  unsigned seed = 10;
  for (auto* part : {&op.attention.q, &op.attention.k, &op.attention.v, &op.attention.out})
    *part = random_linear<double>(c, c, true, ++seed);
  op.gate.weight = random_tensor<double, 4>({c, 2 * c, 3, 3}, 20, 0.3);
  op.gate.bias = random_tensor<double, 1>({c}, 21);
  return op;
}

}  // namespace

TEST_CASE("local_global_fusion: a closed gate leaves the camera, plus what is seen of both") {
  auto op = fusion(4);
  op.gate.weight.setZero();
  op.gate.bias.setConstant(-1000);
  const auto radar = random_tensor<double, 4>({2, 4, 3, 5}, 1), camera = random_tensor<double, 4>({2, 4, 3, 5}, 2);
  heed::Tensor<double, 3> l(2, 15, 4), both(2, 30, 4);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 15; ++n)
      for (Index d = 0; d < 4; ++d) {
        l(b, n, d) = both(b, 15 + n, d) = camera(b, d, n / 5, n % 5);
        both(b, n, d) = radar(b, d, n / 5, n % 5);
      }
  using namespace heed::test;
  const auto seen = apply(op.attention.out, naive_heads({}, apply(op.attention.q, l), apply(op.attention.k, both),
                                                        apply(op.attention.v, both), 2));
  heed::Tensor<double, 4> want = camera;
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 15; ++n)
      for (Index d = 0; d < 4; ++d) want(b, d, n / 5, n % 5) += seen(b, n, d);
  CHECK(error_of(op(radar, camera), want) < 1e-12);
  CHECK_THROWS_AS(op(radar, random_tensor<double, 4>({2, 4, 5, 3}, 1)), heed::Error);
  op.options.num_heads = 3;
  CHECK_THROWS_WITH(op(radar, camera),
                    "local_global_fusion: q.weight must have a multiple of num_heads = 3 rows, got 4");
}

TEST_CASE("Gradients of local_global_fusion") {
  auto op = fusion(2);
  auto radar = random_tensor<double, 4>({1, 2, 1, 3}, 1), camera = random_tensor<double, 4>({1, 2, 1, 3}, 2);
  heed::test::check_gradients([&](auto&, const auto& r, const auto& c) { return op(r, c); }, radar, camera, op);
}
