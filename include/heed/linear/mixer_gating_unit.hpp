// SPDX-License-Identifier: Apache-2.0
// mixer_gating_unit: an MLP-Mixer makes the gate of a projection.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// out = proj(x) * y: y' = x + MLP_token(token.norm(x)^T)^T along the tokens, y = y' + MLP_channel(channel.norm(y')),
/// with MLP(z) = fc2(gelu(fc1(z))).
///
///   heed::MixerGatingUnit<float> mix;
///   auto y = mix(x);                                        // or mix(device, x)
///
/// x and out (B, N, C); token.fc1.weight (T, N), token.fc2.weight (N, T), which fix N; channel.fc1.weight (F, C),
/// channel.fc2.weight (C, F); proj.weight (C, C), each with its bias; token.norm and channel.norm, layer norms with
/// weight and bias (C). Throws heed::Error for shapes that do not fit. Time O(B (N T C + N C F + N C^2)); the same bits
/// for any number of threads. Source: Abdullah and Aydin 2024 (NiNformer), the authors' code.
template <Real T>
struct MixerGatingUnit {
  struct Mixer {
    LayerNorm<T> norm = {};
    Mlp<T> mlp = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "norm.", norm, "", mlp);
    }
  };

  Mixer token = {}, channel = {};
  Linear<T> proj = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "token.", token, "channel.", channel, "proj.", proj);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MixerGatingUnit: x is (B, N, C)");
    const Index tokens = sizes_of(x)[1], channels = sizes_of(x)[2];
    check(token, "token.", tokens);
    check(channel, "channel.", channels);
    check_linear(kName, "proj", proj, channels, channels);
    const auto by_token = token.norm(device, x);
    const auto across = token.mlp(device, Gelu(), view(by_token).permute({0, 2, 1}));
    const auto y = add(device, x, view(across).permute({0, 2, 1}));
    const auto along = channel.mlp(device, Gelu(), channel.norm(device, y));
    return multiply(device, proj(device, x), add(device, y, along));
  }

 private:
  static constexpr std::string_view kName = "mixer_gating_unit";

  static void check(const Mixer& mixer, const std::string& name, Index width) {
    const Index inner = mixer.mlp.fc1.weight.dimension(0);
    check_linear(kName, name + "fc1", mixer.mlp.fc1, width, inner);
    check_linear(kName, name + "fc2", mixer.mlp.fc2, inner, width);
  }
};

}  // namespace heed::inline HEED_ISA
