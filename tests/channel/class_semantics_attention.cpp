// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/class_semantics_attention.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("class_semantics_attention gates one tensor by another") {
  using Attention = heed::ClassSemanticsAttention<double>;
  using Fusion = Attention::Fusion;
  Attention op{
      {}, {fill<3>({3, 2, 3}), fill<1>({3})}, {fill<2>({4, 3}), fill<1>({4})}, {fill<3>({1, 3, 3}), fill<1>({1})}};
  auto r = random_tensor<double, 3>({2, 2, 5}, 1), f = random_tensor<double, 3>({2, 4, 5}, 2);
  for (const Fusion fusion : {Fusion::kAdd, Fusion::kMultiply, Fusion::kMax, Fusion::kConcat}) {
    op.options.fusion = fusion;
    check_gradients(
        [&](auto&, const auto& a, const auto& b) {
          const auto result = op(a, b);
          return std::make_tuple(result.out, result.channel, result.temporal);
        },
        r, f, op);
  }
  const auto step = op(random_tensor<double, 3>({1, 2, 1}, 1), random_tensor<double, 3>({1, 4, 1}, 1));
  CHECK(step.out.dimension(1) == 8);
  CHECK_THROWS_AS(op(r, random_tensor<double, 3>({2, 4, 6}, 2)), heed::Error);
}
