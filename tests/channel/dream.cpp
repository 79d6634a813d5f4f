// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/dream.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

TEST_CASE("dream refines maps, sequences and vectors") {
  heed::Dream<double> op;
  op.branch0 = {{fill<2>({2, 3}), fill<1>({2})}, random_batch_norm(2)};
  for (auto& branch : op.branch) branch = {{fill<4>({2, 3, 3, 3}), fill<1>({2}), {}}, random_batch_norm(2)};
  op.pool = {{fill<2>({2, 3}), fill<1>({2})}, random_batch_norm(2)};
  op.fuse = {{fill<2>({2, 10}), fill<1>({2})}, random_batch_norm(2)};
  op.channel_weight = fill<1>({10});
  op.spatial_weight = fill<1>({10});
  auto x = random_tensor<double, 4>({2, 3, 2, 8}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  auto sequence = random_tensor<double, 3>({2, 9, 3}, 2);
  check_gradients([&](auto&, const auto& v) { return op(v); }, sequence, op);
  auto vectors = random_tensor<double, 2>({3, 3}, 3);
  check_gradients([&](auto&, const auto& v) { return op(v); }, vectors, op);
  CHECK(heed::const_view(op(sequence)).sizes == std::array<Index, 4>{2, 2, 1, 9});
  const Tensor<double, 4> points = vectors.reshape(Eigen::array<Index, 4>{3, 3, 1, 1});
  CHECK(op(vectors)(2, 1) == op(points)(2, 1, 0, 0));
  op.options.rate = 0;
  CHECK_THROWS_AS(op(x), heed::Error);
}
