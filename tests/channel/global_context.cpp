// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/global_context.hpp"

#include "support/channel.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("global_context adds or multiplies a transform of one vector") {
  using Context = heed::GlobalContext<double>;
  const auto transform = [] {
    return Context::Transform{
        {fill<2>({3, 4}), fill<1>({3})}, {fill<1>({3}), fill<1>({3})}, {fill<2>({4, 3}), fill<1>({4})}};
  };
  Context context{{}, fill<1>({4}), fill<1>({1}), transform(), transform()};
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  for (const auto pooling : {Context::Pooling::kAttention, Context::Pooling::kMean})
    for (const auto& [add, multiply] : {std::pair{true, false}, {false, true}, {true, true}}) {
      context.options = {pooling, add, multiply};
      check_gradients([&](auto&, const auto& v) { return context(v); }, x, context);
    }
  // The bias of the mask is the same for all positions.
  context.options = {};
  const Tensor<double, 4> y = context(x);
  context.mask_bias(0) += 3;
  CHECK(error_of(context(x), y) < 1e-14);
  context.options = {Context::Pooling::kMean, false, false};
  CHECK(error_of(context(x), x) == 0);
}
