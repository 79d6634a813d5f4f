// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/routed.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("attend_routes is attention to the set blocks of each query") {
  const Index n = 150, m = 131, size = 16, blocks = 9;
  const auto q = random_tensor<float, 4>({2, 4, n, 8}, 1), k = random_tensor<float, 4>({2, 2, m, 8}, 2),
             v = random_tensor<float, 4>({2, 2, m, 5}, 3);
  const auto mask = random_mask<4>({2, 2, n, blocks}, 4, 0.3);
  const Routes routes = route_blocks(DeviceRef(), const_view(mask), 4,
                                     [&](Index, Index c) { return std::pair(c * size, std::min(m, (c + 1) * size)); });
  NaiveAttention naive;
  naive.visible = [&](Index b, Index h, Index i, Index j) { return mask(b, h / 2, i, j / size) != 0; };
  const auto out = attend_routes(DeviceRef(), routes, q, k, v);
  CHECK(error_of(out, naive(q, k, v).out) < 2e-6);
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  const Routes again = route_blocks(device, const_view(mask), 4,
                                    [&](Index, Index c) { return std::pair(c * size, std::min(m, (c + 1) * size)); });
  CHECK(error_of(attend_routes(device, again, q, k, v), out) == 0);
}

TEST_CASE("attend_routed_heads leaves zeros where a head is not used") {
  const Index n = 70;
  const auto q = random_tensor<float, 4>({2, 2, n, 8}, 1), k = random_tensor<float, 4>({2, 2, n, 8}, 2),
             v = random_tensor<float, 4>({2, 2, n, 5}, 3);
  const auto used = random_mask<3>({2, n, 2}, 4, 0.4);
  const Routes routes = route_heads(DeviceRef(), const_view(used), [](Index i) { return i + 1; });
  NaiveAttention naive;
  naive.visible = [&](Index b, Index h, Index i, Index j) { return used(b, i, h) != 0 && j <= i; };
  const auto out = attend_routed_heads(DeviceRef(), routes, q, k, v);
  CHECK(error_of(view(out).split(2, 5).permute({0, 2, 1, 3}), naive(q, k, v).out) < 2e-6);
}
