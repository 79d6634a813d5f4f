// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/normalize.hpp"

#include "catch.hpp"
#include "support/finite_differences.hpp"

using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("layer_norm on a tape") {
  auto x = random_tensor<double, 3>({2, 3, 17}, 1);
  heed::LayerNorm<double> layer{random_tensor<double, 1>({17}, 2), random_tensor<double, 1>({17}, 3)};
  check_gradients([&](auto&, const auto& v) { return layer(v); }, x, layer);
  heed::LayerNorm<double> plain;
  check_gradients([&](auto&, const auto& v) { return plain(v.permute({2, 0, 1})); }, x);
}

TEST_CASE("rms_norm on a tape") {
  auto x = random_tensor<double, 2>({3, 17}, 1);
  heed::RmsNorm<double> layer{random_tensor<double, 1>({17}, 2)};
  check_gradients([&](auto&, const auto& v) { return layer(v); }, x, layer);
  heed::RmsNorm<double> plain;
  check_gradients([&](auto&, const auto& v) { return plain(v); }, x);
}

TEST_CASE("layer_norm and rms_norm into a part of a variable") {
  auto x = random_tensor<double, 3>({2, 3, 8}, 1);
  heed::LayerNorm<double> centred{random_tensor<double, 1>({4}, 2), random_tensor<double, 1>({4}, 3)};
  heed::RmsNorm<double> plain{random_tensor<double, 1>({4}, 4)};
  check_gradients(
      [&](auto& tape, const auto& v) {
        const auto out = tape.template make<4>({2, 6, 2, 4});
        const auto heads = v.split(2, 4);
        layer_norm(heed::DeviceRef(), heads, centred.weight, centred.bias, 1e-5, out.slice(1, 3, 3));
        rms_norm(heed::DeviceRef(), heads, plain.weight, 1e-6, out.slice(1, 0, 3));
        return out;
      },
      x, centred, plain);
}
