// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/diagonal_attention_loss.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("diagonal_attention_loss reads the diagonals of two maps") {
  auto attention = random_tensor<double, 5>({2, 3, 2, 4, 4}, 1);
  const heed::DiagonalAttentionLoss loss{{.num_layers = 2, .local_target = 0.7, .global_target = 0.2}};
  double want = 0;
  for (const auto& [map, target] : {std::pair<Index, double>{1, 0.7}, {2, 0.2}})
    for (Index n = 0; n < 4; ++n) {
      double d = 0;
      for (Index b = 0; b < 2; ++b)
        for (Index h = 0; h < 2; ++h) d += attention(b, map, h, n, n) / 4;
      want += (d - target) * (d - target) / 4;
    }
  const heed::Tensor<double, 1> got = loss(attention);
  CHECK(got.size() == 1);
  CHECK(std::abs(got(0) - want) < 1e-14);
  check_gradients([&](auto&, const auto& a) { return loss(a); }, attention);

  for (Index i = 0; i < 4; ++i) attention(0, 1, 0, i, (i + 1) % 4) = heed::test::kNaN;
  CHECK(loss(attention)(0) == got(0));
  CHECK_THROWS_WITH(heed::DiagonalAttentionLoss{{.num_layers = 4}}(attention),
                    "diagonal_attention_loss: num_layers must be 1 to S = 3, got 4");
  CHECK_THROWS_AS(loss(random_tensor<double, 5>({2, 3, 2, 4, 3}, 1)), heed::Error);
}
