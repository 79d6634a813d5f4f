// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/linear_scan.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

namespace {

// decay: 0 none, 1 for a head, 2 for a token, 3 for a channel. beta: columns, 0 for none.
void check(Index tokens, int decay, Index beta_columns, bool carried, bool ones, Index chunk) {
  constexpr Index width = 3, values = 2, batch = 2, heads = 2, kv_heads = 1;
  auto q = random_tensor<double, 4>({batch, heads, tokens, width}, 1),
       k = random_tensor<double, 4>({batch, kv_heads, tokens, width}, 2, 0.5),
       v = random_tensor<double, 4>({batch, kv_heads, tokens, values}, 3);
  heed::Tensor<double, 4> g, beta, state;
  if (decay == 1) g = random_tensor<double, 4>({1, kv_heads, 1, 1}, 4, 0.2);
  if (decay > 1) g = random_tensor<double, 4>({batch, kv_heads, tokens, decay == 3 ? width : 1}, 4, 0.2);
  if (beta_columns > 0) beta = random_tensor<double, 4>({batch, kv_heads, tokens, beta_columns}, 5, 0.5);
  if (carried) state = random_tensor<double, 4>({batch, kv_heads, width, values + Index(ones)}, 6);
  for (Index i = 0; i < g.size(); ++i) g.data()[i] = -std::abs(g.data()[i]);
  INFO("decay " << decay << ", beta " << beta_columns << ", state " << carried << ", ones " << ones);
  check_gradients(
      [&](auto&, const auto& a, const auto& b, const auto& c, const auto& d, const auto& e, const auto& s) {
        const auto result = heed::linear_scan(Eigen::DefaultDevice(), a, b, c, d, e, s,
                                              {.scale = 0.5, .normalizer = ones, .chunk = chunk});
        return std::make_tuple(result.out, result.state);
      },
      q, k, v, g, beta, state);
}

}  // namespace

TEST_CASE("Gradients of linear_scan") {
  for (const int decay : {0, 1, 2, 3})
    for (const Index beta_columns : {0, 1, 2}) {
      check(11, decay, beta_columns, true, false, 4);
      check(21, decay, beta_columns, false, beta_columns == 0, 64);
    }
}
