// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/task_channel_scaling.hpp"

#include "support/channel.hpp"

using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("task_channel_scaling scales tokens for each task") {
  using Scaling = heed::TaskChannelScaling<double>;
  auto x = random_tensor<double, 3>({2, 3, 4}, 1);
  for (const bool split : {true, false}) {
    Scaling op({.num_tasks = 2, .split = split, .sigmoid = !split});
    for (auto& layer : op.proj) layer = {fill<2>({split ? 4 : 8, 4}), fill<1>({split ? 4 : 8})};
    for (auto& layer : op.gate) layer = {fill<2>({4, 4}), fill<1>({4})};
    check_gradients(
        [&](auto&, const auto& v) {
          const auto result = op(v);
          return std::make_tuple(result.gate[0], result.gate[1], result.out[0], result.out[1]);
        },
        x, op);
    CHECK(op(x).out.size() == 2);
  }
  CHECK_THROWS_AS(Scaling({.num_tasks = 0}), heed::Error);
}
