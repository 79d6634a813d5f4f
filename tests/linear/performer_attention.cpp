// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/performer_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("performer_attention: many features come near to softmax attention") {
  const Index tokens = 9, width = 4;
  const auto q = random_tensor<float, 4>({1, 2, tokens, width}, 1, 0.7),
             k = random_tensor<float, 4>({1, 2, tokens, width}, 2, 0.7);
  const auto v = random_tensor<float, 4>({1, 2, tokens, 3}, 3);
  for (const bool causal : {false, true}) {
    heed::PerformerAttention<float> attend{{.causal = causal}, random_tensor<float, 2>({4096, width}, 4)};
    Tensor<double, 4> want(1, 2, tokens, 3);
    want.setZero();
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < tokens; ++i) {
        double total = 0;
        for (Index j = 0; j < (causal ? i + 1 : tokens); ++j) {
          double dot = 0;
          for (Index d = 0; d < width; ++d) dot += q(0, h, i, d) * k(0, h, j, d);
          total += std::exp(dot / 2);
          for (Index c = 0; c < 3; ++c) want(0, h, i, c) += std::exp(dot / 2) * v(0, h, j, c);
        }
        for (Index c = 0; c < 3; ++c) want(0, h, i, c) /= total;
      }
    CHECK(error_of(attend(q, k, v), want) < 0.05);
    check_threads([&](const heed::DeviceRef& device) { return attend(device, q, k, v); });
  }
}

TEST_CASE("performer_attention: relu features, and the last causal row sees what all rows see") {
  for (const auto kernel : {heed::PerformerKernel::kSoftmax, heed::PerformerKernel::kRelu}) {
    const Index tokens = 17;
    const auto q = random_tensor<float, 4>({2, 2, tokens, 5}, 1), k = random_tensor<float, 4>({2, 2, tokens, 5}, 2);
    const auto v = random_tensor<float, 4>({2, 2, tokens, 3}, 3);
    const auto projection = random_tensor<float, 2>({7, 5}, 4);
    const heed::PerformerAttention<float> causal{{.kernel = kernel, .causal = true, .eps = 0}, projection};
    const heed::PerformerAttention<float> all{{.kernel = kernel}, projection};
    CHECK(error_of(heed::const_view(causal(q, k, v)).slice(2, tokens - 1, 1),
                   heed::const_view(all(q, k, v)).slice(2, tokens - 1, 1)) < 1e-5);
  }
  const auto q = random_tensor<float, 4>({1, 1, 3, 5}, 1);
  CHECK_THROWS_WITH(
      heed::PerformerAttention<float>()(q, q, q),
      "performer_attention: projection must have shape (m, D) with D = 5, the last axis of q, got (0, 0)");
}
