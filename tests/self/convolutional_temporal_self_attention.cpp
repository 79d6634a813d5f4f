// SPDX-License-Identifier: Apache-2.0
#include "heed/self/convolutional_temporal_self_attention.hpp"

#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::ConvolutionalTemporalSelfAttention;
using heed::FrameQuery;
using heed::Index;
using heed::test::fill;
using heed::test::random_tensor;

namespace {

ConvolutionalTemporalSelfAttention<double> mixer(FrameQuery query) {
  return {{.num_heads = 2, .position_dim = 4, .query = query},
          {fill<2>({6, 2}), fill<1>({6})},
          {fill<2>({2, 7}), fill<1>({2})}};
}

}  // namespace

TEST_CASE("convolutional_temporal_self_attention: all frames, the last, and one alone") {
  auto op = mixer(FrameQuery::kAll);
  const auto x = random_tensor<double, 5>({2, 5, 2, 3, 1}, 1);
  const auto all = op(x);
  REQUIRE(heed::const_view(all.out).sizes == std::array<Index, 5>{2, 5, 6, 3, 1});
  op.options.query = FrameQuery::kLast;
  const auto last = op(x);
  REQUIRE(heed::const_view(last.out).sizes == std::array<Index, 5>{2, 1, 6, 3, 1});
  for (Index c = 0; c < 6; ++c) CHECK(last.out(1, 0, c, 2, 0) == Approx(all.out(1, 4, c, 2, 0)));
  for (Index h = 0; h < 2; ++h) {
    double sum = 0;
    for (Index t = 0; t < 5; ++t) sum += all.weights(1, h, 2, t);
    CHECK(sum == Approx(1));
  }
  const auto one = op(random_tensor<double, 5>({1, 1, 2, 1, 3}, 2));
  CHECK(one.weights(0, 1, 0, 0) == 1);
  CHECK_THROWS_AS(op(random_tensor<double, 5>({1, 0, 2, 1, 3}, 2)), heed::Error);
  op.options.position_dim = 3;
  CHECK_THROWS_WITH(op(x), "convolutional_temporal_self_attention: position_dim must be even, got 3");
}

TEST_CASE("Gradients of convolutional_temporal_self_attention") {
  for (const auto query : {FrameQuery::kAll, FrameQuery::kLast}) {
    auto op = mixer(query);
    auto x = random_tensor<double, 5>({2, 3, 2, 2, 1}, 1);
    heed::test::check_gradients(
        [&](auto&, const auto& v) {
          const auto y = op(v);
          return std::make_tuple(y.out, y.weights);
        },
        x, op);
  }
}
