// SPDX-License-Identifier: Apache-2.0
#include "heed/self/elementwise_gated_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("elementwise_gated_attention: means of values weighted by each token's own score") {
  for (const Index tokens : {1, 3, 17, 63})
    for (const bool causal : {true, false}) {
      heed::ElementwiseGatedAttention<double> attend{{.num_heads = 2, .causal = causal}};
      unsigned seed = 1;
      heed::for_each_parameter(attend, [&](std::string_view, auto& p) {
        if constexpr (heed::kRankOf<decltype(p)> == 2)
          p = random_tensor<double, 2>({6, 6}, ++seed);
        else
          p = random_tensor<double, 1>({6}, ++seed);
      });
      const auto x = random_tensor<double, 3>({2, tokens, 6}, 50);
      const Tensor<double, 3> q = attend.q(x), k = attend.k(x), v = attend.v(x);
      Tensor<double, 3> mixed(2, tokens, 6);
      for (Index b = 0; b < 2; ++b)
        for (Index c = 0; c < 6; ++c)
          for (Index i = 0; i < tokens; ++i) {
            double sum = 0, total = 0;
            for (Index j = 0; j < (causal ? i + 1 : tokens); ++j) {
              double g = 0;
              for (Index d = c / 3 * 3; d < c / 3 * 3 + 3; ++d)
                g += q(b, j, d) / (1 + std::exp(-q(b, j, d))) * k(b, j, d) / std::sqrt(3.0);
              sum += std::exp(g) * v(b, j, c);
              total += std::exp(g);
            }
            mixed(b, i, c) = sum / total;
          }
      CHECK(error_of(attend(x), Tensor<double, 3>(attend.out(mixed))) < 1e-13);
      check_threads([&](const heed::DeviceRef& device) { return attend(device, x); });
    }
}

TEST_CASE("elementwise_gated_attention: errors") {
  heed::ElementwiseGatedAttention<float> attend{{.num_heads = 0}};
  Tensor<float, 3> x(2, 5, 8);
  CHECK_THROWS_WITH(attend(x),
                    "elementwise_gated_attention: C must be a multiple of num_heads = 0, got x of shape (2, 5, 8)");
}
