// SPDX-License-Identifier: Apache-2.0
#include "heed/mixture_of_head/moh_gates.hpp"

#include <algorithm>
#include <vector>

#include "catch.hpp"
#include "support/self_attention.hpp"

using namespace heed;
using namespace heed::test;

namespace {

std::vector<double> softmax_of(const Tensor<double, 2>& weight, const Tensor<double, 3>& x, Index b, Index n) {
  std::vector<double> p;
  double sum = 0;
  for (Index r = 0; r < weight.dimension(0); ++r) {
    double s = 0;
    for (Index c = 0; c < x.dimension(2); ++c) s += weight(r, c) * x(b, n, c);
    sum += p.emplace_back(std::exp(s));
  }
  for (double& value : p) value /= sum;
  return p;
}

}  // namespace

TEST_CASE("moh_gates: shared heads, the largest of the others, the balance of both and the loss") {
  for (const Index tokens : {1, 3, 17})
    for (const auto& [heads, shared, asked] :
         {std::tuple<Index, Index, Index>{5, 0, 2}, {5, 1, 2}, {5, 2, 3}, {5, 2, 9}, {5, 4, 1}, {3, 3, 0}, {1, 0, 1}}) {
      const Index experts = heads - shared, used = std::min(asked, experts);
      const auto x = random_tensor<double, 3>({2, tokens, 4}, 1);
      const MohGates<double> gates{random_tensor<double, 2>({experts, 4}, 2), random_tensor<double, 2>({2, 4}, 3),
                                   random_tensor<double, 2>({shared, 4}, 4)};
      const auto got = gates("test", {heads, shared, asked}, DeviceRef(), x);
      Tensor<double, 3> want(2, tokens, heads);
      std::vector<double> share(std::size_t(experts), 0.0), taken(share);
      for (Index b = 0; b < 2; ++b)
        for (Index n = 0; n < tokens; ++n) {
          const auto p = softmax_of(gates.router, x, b, n), s = softmax_of(gates.shared_router, x, b, n),
                     w = softmax_of(gates.balance, x, b, n);
          auto order = p;
          std::sort(order.rbegin(), order.rend());
          double kept = 0;
          for (Index e = 0; e < used; ++e) kept += order[std::size_t(e)];
          for (Index e = 0; e < experts; ++e) {
            const double p_e = p[std::size_t(e)];
            const bool chosen = used > 0 && p_e >= order[std::size_t(used - 1)];
            want(b, n, shared + e) = chosen ? double(used) * p_e / kept * (shared > 0 ? 2 * w[1] : 1) : 0;
            share[std::size_t(e)] += p_e / double(2 * tokens);
            taken[std::size_t(e)] += chosen / double(2 * tokens);
          }
          for (Index h = 0; h < shared; ++h)
            want(b, n, h) = double(shared) * s[std::size_t(h)] * (used > 0 ? 2 * w[0] : 1);
        }
      CHECK(error_of(got.gates, want) < 1e-14);
      double loss = 0;
      for (Index e = 0; e < experts; ++e) loss += share[std::size_t(e)] * taken[std::size_t(e)];
      REQUIRE(got.load_balance_loss.size() == (used > 0 ? 1 : 0));
      if (used > 0) CHECK(got.load_balance_loss(0) == Approx(loss * double(experts)));
    }
}

TEST_CASE("moh_gates: ties go to the lower head; errors") {
  MohGates<float> gates{Tensor<float, 2>(3, 4).setZero(), {}, {}};
  const auto x = random_tensor<float, 3>({1, 2, 4}, 1);
  const auto even = gates("test", {3, 0, 2}, DeviceRef(), x).gates;
  for (Index n = 0; n < 2; ++n) {
    CHECK(even(0, n, 0) == Approx(1));
    CHECK(even(0, n, 1) == Approx(1));
    CHECK(even(0, n, 2) == 0);
  }
  CHECK_THROWS_WITH(gates("test", {4, 0, 2}, DeviceRef(), x), "test: router.weight must have shape (4, 4), got (3, 4)");
  CHECK_THROWS_WITH(gates("test", {4, 1, 2}, DeviceRef(), x),
                    "test: balance.weight must have shape (2, 4), got (0, 0)");
  CHECK_THROWS_WITH(gates("test", {2, 1, 0}, DeviceRef(), x),
                    "test: routed_heads = 0 needs shared_heads = num_heads, got 1 and 2");
  CHECK_THROWS_WITH(
      gates("test", {2, 3, 1}, DeviceRef(), x),
      "test: num_heads must be 1 or more, shared_heads 0 to num_heads and routed_heads 0 or more, got 2, 3 "
      "and 1");
}
