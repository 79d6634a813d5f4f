// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/coordinate_attention.hpp"
#include "heed/channel/ela.hpp"
#include "heed/channel/global_context.hpp"
#include "support/channel.hpp"
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;
TEST_CASE("g") {
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  heed::CoordinateAttention<double> ca{{fill<2>({3, 4}), fill<1>({3})},
                                       heed::test::random_batch_norm(3),
                                       {fill<2>({4, 3}), fill<1>({4})},
                                       {fill<2>({4, 3}), fill<1>({4})}};
  check_gradients([&](auto&, const auto& v) { return ca(v); }, x, ca);
  heed::Ela<double> ela{{.num_groups = 2}, {fill<3>({4, 1, 3}), fill<1>({4}), fill<1>({4})}};
  check_gradients([&](auto&, const auto& v) { return ela(v); }, x, ela);
  heed::GlobalContext<double> gc{{.channel_add = true, .channel_mul = true}, fill<1>({4}), fill<1>({1})};
  for (auto* t : {&gc.add, &gc.mul}) {
    t->fc1 = {fill<2>({3, 4}), fill<1>({3})};
    t->fc2 = {fill<2>({4, 3}), fill<1>({4})};
    t->ln = {fill<1>({3}), fill<1>({3})};
  }
  check_gradients([&](auto&, const auto& v) { return gc(v); }, x, gc);
}
