// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/linear_attention.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::LinearForm;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEMPLATE_TEST_CASE("Gradients of linear_attention", "", heed::IdentityFeatures, heed::TaylorFeatures) {
  const TestType map;
  const Index features = map.size(3);
  for (const auto form : {LinearForm::kRecurrent, LinearForm::kChunked, LinearForm::kParallel})
    for (const bool causal : {true, false})
      for (const bool carried : {true, false}) {
        auto q = random_tensor<double, 4>({2, 1, 5, 3}, 1), k = random_tensor<double, 4>({2, 1, causal ? 5 : 4, 3}, 2);
        auto v = random_tensor<double, 4>({2, 1, causal ? 5 : 4, 2}, 3);
        auto state = random_tensor<double, 4>({2, 1, carried ? features : 0, 2}, 4);
        check_gradients(
            [&](auto& tape, const auto& a, const auto& b, const auto& c, const auto& s) {
              const auto out = tape.template make<4>({2, 1, 5, 2});
              const auto end = tape.template make<4>({2, 1, carried ? features : 0, 2});
              heed::linear_attention(Eigen::DefaultDevice(), map, a, b, c, s,
                                     {.causal = causal, .form = form, .chunk = 2}, out, end);
              return std::make_tuple(out, end);
            },
            q, k, v, state);
      }
}
