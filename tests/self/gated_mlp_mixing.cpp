// SPDX-License-Identifier: Apache-2.0
#include "heed/self/gated_mlp_mixing.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
heed::GatedMlpMixing<T> mixing(Index channels, Index inner) {
  heed::GatedMlpMixing<T> mix;
  mix.gate.weight = random_tensor<T, 2>({inner, channels}, 1);
  mix.up.weight = random_tensor<T, 2>({inner, channels}, 2);
  mix.down.weight = random_tensor<T, 2>({channels, inner}, 3);
  return mix;
}

}  // namespace

TEST_CASE("gated_mlp_mixing is its formula, token by token") {
  for (const Index n : {0, 1, 3, 17})
    for (const Index c : {1, 3, 17}) {
      const Index r = (4 * c + 2) / 3;
      const auto mix = mixing<float>(c, r);
      const auto x = random_tensor<float, 3>({2, n, c}, 4);
      const auto got = mix(x);
      Tensor<double, 3> want(2, n, c);
      want.setZero();
      for (Index b = 0; b < 2; ++b)
        for (Index i = 0; i < n; ++i)
          for (Index h = 0; h < r; ++h) {
            double gate = 0, up = 0;
            for (Index d = 0; d < c; ++d) {
              gate += double(mix.gate.weight(h, d)) * double(x(b, i, d));
              up += double(mix.up.weight(h, d)) * double(x(b, i, d));
            }
            for (Index o = 0; o < c; ++o)
              want(b, i, o) += double(mix.down.weight(o, h)) * up * gate / (1 + std::exp(-gate));
          }
      CHECK(error_of(got, want) < 1e-5);
    }
  CHECK(heed::count_parameters(mixing<float>(6, 8)) == 3 * 48);
}

TEST_CASE("gated_mlp_mixing refuses what does not fit, by name") {
  auto mix = mixing<float>(4, 5);
  CHECK_THROWS_WITH(mix(random_tensor<float, 3>({1, 2, 3}, 1)),
                    "gated_mlp_mixing: gate.weight must have shape (5, 3), got (5, 4)");
  mix.down.weight = random_tensor<float, 2>({4, 6}, 1);
  CHECK_THROWS_WITH(mix(random_tensor<float, 3>({1, 2, 4}, 1)),
                    "gated_mlp_mixing: down.weight must have shape (4, 5), got (4, 6)");
}

TEST_CASE("Gradients of gated_mlp_mixing") {
  auto mix = mixing<double>(3, 4);
  auto x = random_tensor<double, 3>({2, 3, 3}, 5);
  check_gradients([&](auto&, const auto& v) { return mix(v); }, x, mix);
}
