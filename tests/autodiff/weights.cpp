// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/weights.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tape;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

TEST_CASE("Gradients of attention weights") {
  auto q = random_tensor<double, 4>({2, 4, 3, 5}, 1), k = random_tensor<double, 4>({2, 2, 7, 5}, 2);
  const auto attend = heed::softmax_attention(heed::causal(-1), {.scale = 0.7});  // the first row sees no key
  check_gradients([&](auto&, const auto& x,
                      const auto& y) { return heed::attention_weights(Eigen::DefaultDevice(), attend, x, y); },
                  q, k);
  auto heads_last = random_tensor<double, 3>({4, 3, 6}, 3);
  check_gradients(
      [&](auto&, const auto& x) {
        const auto heads = x.permute({1, 0, 2});
        return heed::attention_weights(Eigen::DefaultDevice(), attend, heads, heads);
      },
      heads_last);
}

TEST_CASE("A hidden key changes no gradient of attention weights") {
  const auto attend = heed::softmax_attention(heed::causal(0));
  const auto q = random_tensor<double, 4>({1, 1, 3, 5}, 1), c = random_tensor<double, 4>({1, 1, 3, 4}, 3);
  auto k = random_tensor<double, 4>({1, 1, 4, 5}, 2);
  Tape<double> clean, poisoned;
  const heed::Var a = clean.input(q), b = clean.input(k);
  clean.backward(heed::attention_weights(Eigen::DefaultDevice(), attend, a, b), c);
  Tensor<double, 4> d_k(1, 1, 4, 5), d_q(1, 1, 3, 5);
  std::copy_n(clean.grad(b).data, d_k.size(), d_k.data());
  std::copy_n(clean.grad(a).data, d_q.size(), d_q.data());
  for (Index d = 0; d < 5; ++d) k(0, 0, 3, d) = kNaN;
  const heed::Var x = poisoned.input(q), y = poisoned.input(k);
  poisoned.backward(heed::attention_weights(Eigen::DefaultDevice(), attend, x, y), c);
  CHECK(error_of(poisoned.grad(x), d_q) == 0);
  CHECK(error_of(poisoned.grad(y), d_k) == 0);
  for (Index d = 0; d < 5; ++d) CHECK(poisoned.grad(y)(0, 0, 3, d) == 0);
}
