// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/selective_scan.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of selective_scan") {
  struct Kind {
    Index batch, channels, tokens;
    bool softplus, reverse, whole;
  };
  for (const Kind& kind : {Kind{2, 3, 4, true, false, true},
                           {1, 9, 35, false, false, true},
                           {1, 2, 35, true, true, true},
                           {2, 3, 5, true, true, false}}) {
    const Index n = kind.channels == 9 ? 1 : 2;
    const auto some = [&](Index size) { return kind.whole ? size : 0; };
    auto u = random_tensor<double, 3>({kind.batch, kind.channels, kind.tokens}, 1);
    auto delta = random_tensor<double, 3>({kind.batch, kind.channels, kind.tokens}, 2, 0.3);
    auto a = random_tensor<double, 2>({kind.channels, n}, 3);
    // Tokens apart, states side by side.
    auto b = random_tensor<double, 3>({kind.batch, kind.tokens, n}, 4);
    auto c = random_tensor<double, 3>({kind.batch, n, kind.tokens}, 5);
    auto skip = random_tensor<double, 1>({some(kind.channels)}, 6),
         bias = random_tensor<double, 1>({some(kind.channels)}, 7);
    auto z = random_tensor<double, 3>({kind.batch, some(kind.channels), kind.tokens}, 8);
    auto state = random_tensor<double, 3>({kind.batch, some(kind.channels), n}, 9);
    a = -a.abs();
    if (!kind.softplus) {  // steps below 0 let states grow beyond what differences resolve
      delta = delta.abs();
      bias = bias.abs();
    }
    check_gradients(
        [&](auto& tape, const auto& u, const auto& delta, const auto& a, const auto& b, const auto& c, const auto& skip,
            const auto& z, const auto& bias, const auto& state) {
          const auto out = tape.template make<3>({kind.batch, kind.channels, kind.tokens});
          const auto end = tape.template make<3>({kind.batch, some(kind.channels), n});
          heed::selective_scan(heed::DeviceRef(), u, delta, a, b.permute({0, 2, 1}), c, skip, z, bias, state,
                               {.delta_softplus = kind.softplus, .reverse = kind.reverse}, out, end);
          return std::make_tuple(out, end);
        },
        u, delta, a, b, c, skip, z, bias, state);
  }
}
