// SPDX-License-Identifier: Apache-2.0
#include "heed/block/repeat.hpp"

#include "heed/autodiff/concat.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

TEST_CASE("repeat_for: the same tokens for every item; their gradient is summed") {
  auto tokens = random_tensor<double, 2>({3, 5}, 1);
  const auto y = heed::repeat_for(heed::DeviceRef(), tokens, Tensor<double, 4>(4, 1, 1, 1));
  REQUIRE(heed::const_view(y).sizes == std::array<Index, 3>{4, 3, 5});
  for (Index b = 0; b < 4; ++b) CHECK(heed::test::error_of(heed::const_view(y).select(0, b), tokens) == 0);
  CHECK(heed::repeat_for(heed::DeviceRef(), tokens, Tensor<double, 3>(0, 2, 2)).size() == 0);
  const Tensor<double, 3> x(2, 1, 1);
  heed::test::check_gradients([&](auto&, const auto& t) { return heed::repeat_for(heed::DeviceRef(), t, x); }, tokens);
}
