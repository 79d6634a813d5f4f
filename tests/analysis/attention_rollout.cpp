// SPDX-License-Identifier: Apache-2.0
#include "heed/analysis/attention_rollout.hpp"

#include "heed/analysis/attention_flow.hpp"
#include "heed/analysis/cross_attention_aggregate.hpp"
#include "heed/analysis/regularized_attention_flow.hpp"
#include "heed/autodiff/gather.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

namespace {

Tensor<double, 4> weights(Index layers, Index heads, Index n) {
  return heed::softmax(random_tensor<double, 4>({layers, heads, n, n}, unsigned(n)));
}

}  // namespace

TEST_CASE("Rows of rollout and flow sum to 1, and one layer is its own map") {
  for (const Index n : {1, 3, 5}) {
    const auto x = weights(3, 2, n);
    const Tensor<double, 3> rollout = heed::AttentionRollout()(x), flow = heed::AttentionFlow()(x);
    for (Index l = 0; l < 3; ++l)
      for (Index i = 0; i < n; ++i) {
        double in_rollout = 0, in_flow = 0;
        for (Index j = 0; j < n; ++j) {
          in_rollout += rollout(l, i, j), in_flow += flow(l, i, j);
          if (l == 0) CHECK(flow(0, i, j) == Approx(rollout(0, i, j)));
        }
        CHECK(in_rollout == Approx(1));
        CHECK(in_flow == Approx(1));
      }
  }
  CHECK(heed::AttentionRollout()(Tensor<double, 4>(0, 2, 3, 3)).size() == 0);
  CHECK_THROWS_AS(heed::AttentionRollout()(Tensor<double, 4>(1, 2, 3, 4)), heed::Error);
  CHECK_THROWS_AS(heed::AttentionFlow()(Tensor<double, 4>(1, 0, 3, 3)), heed::Error);
}

TEST_CASE("A maximum flow is limited by the narrowest cut") {
  heed::kernel::FlowNetwork network(4);
  network.add_edge(0, 1, 3);
  network.add_edge(0, 2, 2);
  network.add_edge(1, 2, 5);
  network.add_edge(1, 3, 1);
  network.add_edge(2, 3, 4);
  CHECK(network.maximum_flow(0, 3) == 5);
  CHECK(network.maximum_flow(0, 1) == 3);
  CHECK(network.maximum_flow(3, 0) == 0);
  // Through a middle layer the parts that go back and forth must be undone.
  Tensor<double, 3> x(2, 2, 2);
  x.setValues({{{0.5, 0.5}, {1, 0}}, {{0.25, 0.75}, {1, 0}}});
  const auto flow = heed::layered_flow(heed::DeviceRef(), x);
  CHECK(flow(1, 0, 0) == 1);
  CHECK(flow(1, 0, 1) == 0.25);
  CHECK(flow(1, 1, 1) == 0.5);
}

TEST_CASE("regularized_attention_flow scales columns by who sees them") {
  using Flow = heed::RegularizedAttentionFlow;
  auto x = weights(2, 2, 4);
  Tensor<std::uint8_t, 1> objects(4), image(4);
  objects.setValues({0, 0, 1, 1});
  image.setValues({1, 1, 0, 0});
  const auto plain = Flow{{.head_weighting = false, .regularize = Flow::Regularize::kNone}}(x, objects, image);
  const auto flow = Flow{{.head_weighting = false, .regularize = Flow::Regularize::kFlow}}(x, objects, image);
  for (Index i = 0; i < 4; ++i) CHECK(flow.out(i, 3) <= plain.out(i, 3));
  CHECK(plain.image_map(1) == Approx((plain.out(2, 1) + plain.out(3, 1)) / 2));
  objects.setZero();
  CHECK(Flow()(x, objects, image).image_map(0) == 0);
  objects(1) = 1;
  check_gradients(
      [&](auto&, const auto& v) {
        const auto result = Flow()(v, objects, image);
        return std::make_tuple(result.head_weights, result.out, result.image_map, heed::AttentionRollout()(v));
      },
      x);
}

TEST_CASE("cross_attention_aggregate is the mean of what is chosen") {
  const auto x = random_tensor<double, 4>({2, 2, 3, 4}, 1);
  Tensor<std::uint8_t, 1> layers(2), heads(2);
  layers.setValues({0, 1});
  heads.setValues({1, 1});
  const auto some = heed::CrossAttentionAggregate()(x, {.layer_mask = heed::const_view(layers)});
  CHECK(some(2, 3) == Approx((x(1, 0, 2, 3) + x(1, 1, 2, 3)) / 2));
  layers.setZero();
  CHECK_THROWS_AS(heed::CrossAttentionAggregate()(x, {.layer_mask = heed::const_view(layers)}), heed::Error);
}
