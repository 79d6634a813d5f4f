// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/double_attention.hpp"

#include "heed/autodiff/matmul.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("double_attention gathers descriptors and hands them out") {
  heed::DoubleAttention<double> op;
  op.v = {fill<2>({4, 3}), fill<1>({4})};
  op.k = {fill<2>({2, 3}), fill<1>({2})};
  op.q = {fill<2>({2, 3}), fill<1>({2})};
  op.out = {fill<2>({3, 4}), fill<1>({3})};
  auto x = random_tensor<double, 4>({2, 3, 3, 4}, 1);
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);
  op.options.reconstruct = false;
  op.out = {};
  check_gradients([&](auto&, const auto& v) { return op(v); }, x, op);

  op.k = {fill<2>({1, 3}), {}};  // one descriptor: the same everywhere
  op.q = {fill<2>({1, 3}), {}};
  const Tensor<double, 4> y = op(x);
  CHECK(heed::const_view(y).sizes == std::array<Index, 4>{2, 4, 3, 4});
  CHECK(y(1, 3, 2, 3) == Approx(y(1, 3, 0, 0)));
  CHECK_THROWS_AS(op(Tensor<double, 4>(2, 3, 0, 4)), heed::Error);
}
