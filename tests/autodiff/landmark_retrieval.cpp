// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/landmark_retrieval.hpp"

#include "heed/autodiff/rotary.hpp"
#include "heed/self/landmark_retrieval_attention.hpp"
#include "support/finite_differences.hpp"

using heed::test::random_tensor;

TEST_CASE("Gradients of landmark retrieval") {
  auto q = random_tensor<double, 4>({1, 2, 3, 4}, 1), k = random_tensor<double, 4>({1, 2, 5, 4}, 2);
  auto v = random_tensor<double, 4>({1, 2, 5, 2}, 3);
  const auto block_k = random_tensor<double, 5>({1, 2, 4, 3, 4}, 4),
             block_v = random_tensor<double, 5>({1, 2, 4, 3, 2}, 5);
  heed::Tensor<std::uint8_t, 2> marks(1, 5);
  marks.setZero();
  marks(0, 1) = 1;
  const heed::LandmarkRetrievalAttention attend{{.top_k = 2, .rope_base = 1e4}};
  heed::test::check_gradients(
      [&](auto&, const auto& a, const auto& b, const auto& c) { return attend(a, b, c, marks, block_k, block_v); }, q,
      k, v);
}
