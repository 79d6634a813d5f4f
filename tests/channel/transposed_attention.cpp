// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/transposed_attention.hpp"

#include "heed/autodiff/cosine_similarity.hpp"
#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("transposed_attention mixes the channels of a map") {
  heed::TransposedAttention<double> op{{.num_heads = 2}};
  op.q = {fill<2>({4, 4}), fill<1>({4})};
  op.k = {fill<2>({4, 4}), fill<1>({4})};
  op.v = {fill<2>({4, 4}), fill<1>({4})};
  op.q_dw = {fill<4>({4, 1, 3, 3}), fill<1>({4})};
  op.k_dw = {fill<4>({4, 1, 3, 3}), fill<1>({4})};
  op.v_dw = {fill<4>({4, 1, 3, 3}), {}};
  op.out = {fill<2>({4, 4}), fill<1>({4})};
  op.temperature = fill<1>({2});
  auto x = random_tensor<double, 4>({2, 4, 3, 3}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  CHECK_THROWS_AS(op(Tensor<double, 4>(2, 4, 0, 3)), heed::Error);
  op.temperature = fill<1>({3});
  CHECK_THROWS_AS(op(x), heed::Error);
}
