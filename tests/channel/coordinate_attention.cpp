// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/coordinate_attention.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("coordinate_attention gates rows and columns") {
  heed::CoordinateAttention<double> attend{{fill<2>({3, 4}), fill<1>({3})},
                                           random_batch_norm(3),
                                           {fill<2>({4, 3}), fill<1>({4})},
                                           {fill<2>({4, 3}), fill<1>({4})}};
  for (const auto& sizes : {std::array<Index, 4>{2, 4, 3, 5}, {1, 4, 1, 3}, {1, 4, 3, 1}}) {
    auto x = random_tensor<double, 4>(sizes, 1);
    check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  }
  // The factors are an outer product.
  const auto x = random_tensor<double, 4>({1, 4, 3, 5}, 1);
  const Tensor<double, 4> f = attend(x) / x;
  CHECK(f(0, 1, 2, 4) * f(0, 1, 0, 1) == Approx(f(0, 1, 2, 1) * f(0, 1, 0, 4)));
  CHECK_THROWS_AS(attend(random_tensor<double, 4>({1, 5, 3, 5}, 1)), heed::Error);
}
