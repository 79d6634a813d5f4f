// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/activation.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Activations on a tape") {
  auto x = random_tensor<double, 3>({2, 3, 17}, 1);
  check_gradients(
      [](auto&, const auto& v) {
        return std::tuple(heed::relu(v), heed::sigmoid(v), heed::tanh(v), heed::silu(v), heed::gelu(v),
                          heed::gelu_tanh(v), heed::softplus(v), heed::exp(v));
      },
      x);
}

TEST_CASE("An activation of a part") {
  auto x = random_tensor<double, 3>({2, 3, 17}, 1);
  check_gradients([](auto&, const auto& v) { return heed::silu(v.permute({2, 1, 0}).slice(0, 3, 7)); }, x);
}
